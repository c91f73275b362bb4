-- What all segments share: two schemas, the views over all segments, and the functions.


-- name: create_schema
-- Runs when the first segment is created or synced. Needs CREATE on the database. Locks nothing.
CREATE SCHEMA {schema}


-- name: comment_schema
-- Runs at sync and when the schema is created. Takes ShareUpdateExclusive on the schema, so nobody
-- drops it meanwhile.
COMMENT ON SCHEMA {schema} IS {comment}


-- name: select_schema
-- Runs before a schema is used. Locks nothing. Reads the catalog itself, since to_regnamespace may
-- answer from a cache that does not contain what another session has committed while this one
-- waited for its lock.
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %(schema)s)


-- name: select_schema_comment
-- Runs at sync. Locks nothing. Returns the comment of a schema.
SELECT pg_catalog.obj_description(n.oid, 'pg_namespace')
FROM pg_catalog.pg_namespace AS n
WHERE n.nspname = %(schema)s


-- name: select_taken_names
-- Runs at sync and before the shared views are created. Locks nothing. Returns which of these names
-- a relation has that is no view: that of a segment which is older than the name.
SELECT c.relname::text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY (%(names)s) AND c.relkind <> 'v'
ORDER BY 1


-- name: select_missing_shared
-- Runs at sync and before a segment's views are created. Locks nothing. Returns what all segments
-- share and does not exist.
WITH item (schema, name, kind) AS (
    SELECT %(schema)s, unnest(%(views)s::text[]), 'view'
    UNION ALL
    SELECT %(schema)s, unnest(%(functions)s::text[]), 'function'
    UNION ALL
    SELECT %(live_schema)s, unnest(%(live_functions)s::text[]), 'function'
)
SELECT schema || '.' || name || CASE kind WHEN 'function' THEN '()' ELSE '' END AS name
FROM item
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE kind = 'view' AND n.nspname = item.schema AND c.relname = item.name
) AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE kind = 'function' AND n.nspname = item.schema AND p.proname = item.name
)
UNION ALL
SELECT %(live_schema)s WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %(live_schema)s)
ORDER BY 1


-- name: drop_shared_view
-- Runs for drop_segments, and when the key of the user model has another type: that of a view's
-- column cannot change. Takes AccessExclusive on the view. Postgres refuses while anything else
-- reads it.
DROP VIEW IF EXISTS {view}


-- name: drop_function
-- Runs for drop_segments, and when the key of the user model has another type. Takes
-- AccessExclusive on the function. Postgres refuses while anything else uses it.
DROP FUNCTION IF EXISTS {function} {arguments}


-- name: drop_schema
-- Runs for drop_segments. Takes AccessExclusive on the schema. Postgres refuses while it contains
-- anything.
DROP SCHEMA IF EXISTS {schema}


-- name: grant_execute
-- Runs at sync and when the schema is created. Locks nothing. This is Postgres' own default, which
-- hardened databases change. The privileges on the schema decide who may call the function.
GRANT EXECUTE ON FUNCTION {function} {arguments} TO PUBLIC


-- name: select_path
-- Runs at sync and when the schema is created. Locks nothing. Returns the schemas in which this
-- session looks up names, if reading the table runs functions of the project: those in its
-- policies, or in a view.
SELECT schema::text
FROM unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS path (schema, place)
WHERE schema !~ '^pg_temp' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_class AS c
    WHERE c.oid = to_regclass(%(name)s) AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
)
ORDER BY place


-- name: search_path_setting
-- Part of a function that reads the users. Temporary objects, which a caller may have created, come last.
SET search_path = {schemas}, pg_temp


-- name: select_key_type
-- Runs before the view over all memberships is replaced or detached. Locks nothing. Returns the
-- type of the user ids in it.
SELECT pg_catalog.format_type(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = to_regclass(%(view)s) AND a.attname = 'user_id'


-- name: detach_membership_view
-- Runs before a migration that changes the key of the user model. Takes AccessExclusive on the
-- view.
CREATE OR REPLACE VIEW {view} AS
SELECT d AS user_id, NULL::bigint AS segment_id, NULL::varchar(63) AS slug, NULL::timestamptz AS entered_at
FROM {function}('membership', NULL::{key_type}) AS d


-- name: replace_membership_view
-- Runs at sync and when the schema is created. Takes AccessExclusive on the view for an instant.
-- Columns may only be appended.
CREATE OR REPLACE VIEW {view} AS
SELECT m.user_id::{key_type} AS user_id, m.segment_id, s.slug, m.entered_at
FROM {membership} AS m
JOIN {segment} AS s ON s.id = m.segment_id


-- name: replace_catalog_view
-- Runs at sync and when the schema is created. Takes AccessExclusive on the view for an instant.
-- Columns may only be appended.
CREATE OR REPLACE VIEW {view} AS
SELECT
    s.id AS segment_id,
    s.slug,
    s.name,
    s.description,
    {schema}::text || '.' || replace(s.slug, '-', '_') AS view_name,
    {kind} AS kind,
    s.members_count,
    s.refreshed_at,
    pg_catalog.now() - s.refreshed_at AS age,
    s.status,
    s.last_error,
    last.duration,
    s.failures,
    CASE WHEN s.is_active THEN {due} END AS due,
    nullif(s.ids_from, '') AS ids_from
FROM {segment} AS s
LEFT JOIN LATERAL (
    SELECT r.duration
    FROM {refresh} AS r
    WHERE r.segment_id = s.id
    ORDER BY r.started_at DESC
    LIMIT 1
) AS last ON true


-- name: detach_changes_view
-- Runs before a migration that changes the key of the user model. Takes AccessExclusive on the
-- view.
CREATE OR REPLACE VIEW {view} AS
SELECT
    NULL::bigint AS change_id,
    NULL::bigint AS segment_id,
    NULL::varchar(63) AS slug,
    d AS user_id,
    NULL::text AS change,
    NULL::timestamptz AS at,
    NULL::bigint AS refresh_id
FROM {function}('changes', NULL::{key_type}) AS d


-- name: replace_changes_view
-- Runs at sync and when the schema is created. Takes AccessExclusive on the view for an instant.
-- Columns may only be appended.
CREATE OR REPLACE VIEW {view} AS
SELECT
    c.id AS change_id,
    c.segment_id,
    s.slug,
    c.user_id::{key_type} AS user_id,
    CASE WHEN c.entered THEN 'entered' ELSE 'left' END AS change,
    c.at,
    c.refresh_id
FROM {change} AS c
JOIN {segment} AS s ON s.id = c.segment_id


-- name: replace_history_view
-- Runs at sync and when the schema is created. Takes AccessExclusive on the view for an instant.
-- Columns may only be appended.
CREATE OR REPLACE VIEW {view} AS
SELECT
    r.id AS refresh_id,
    r.segment_id,
    s.slug,
    r.started_at,
    r.duration,
    r.status,
    r.members_count AS size,
    r.added AS entered,
    r.removed AS "left"
FROM {refresh} AS r
JOIN {segment} AS s ON s.id = r.segment_id


-- name: due_of_segment
-- Part of the statements that ask when a segment is due. It is due when its interval has passed
-- since the last attempt, less up to a tenth: each segment has a fraction of its own, so that
-- segments of one interval do not start together. After a failure, the wait is the interval,
-- doubled with each further failure, up to a day. A segment is due at once if it has no attempt,
-- or its definition has changed since. Without an interval it is never due. An interval that leads
-- beyond the calendar would be an error for all segments, so it counts as a century.
CASE WHEN coalesce(s.refresh_every, {every}) IS NOT NULL THEN coalesce(
    s.attempted_at + CASE
        WHEN s.failures = 0
            THEN least(greatest(coalesce(s.refresh_every, {every}), interval '0'), interval '36500 days')
        ELSE least(
            least(greatest(coalesce(s.refresh_every, {every}), interval '0'), interval '1 day')
                * power(2, least(s.failures - 1, 16)),
            interval '1 day'
        )
    END * (1 - (pg_catalog.hashint8(s.id) & 1023) / 10240.0),
    s.updated_at
) END


-- name: replace_detached_function
-- Runs at sync and when the schema is created. Locks nothing. A live view reads this function
-- while it is detached. The function is volatile because the planner may answer for any other
-- without calling it. PUBLIC keeps EXECUTE, so everyone who reads the view gets the message.
CREATE OR REPLACE FUNCTION {function} (slug text, key anyelement) RETURNS SETOF anyelement
LANGUAGE plpgsql VOLATILE SET search_path = '' AS $body$
BEGIN
    RAISE EXCEPTION 'segment "%" is detached from its tables', slug
    USING ERRCODE = 'object_not_in_prerequisite_state',
        HINT = 'A schema change is running or was interrupted. Members and checks at the last refresh still work. '
            'When the change is over, this attaches it: manage.py sync_segments';
END
$body$


-- name: replace_is_user_function
-- Runs at sync and when the schema is created. Locks nothing. Returns whether there is a user of
-- this key.
--
-- It is a function because each session keeps its plan: planning a sub-select in its place takes
-- longer than a whole check. It has the privileges of its owner because a role that may read
-- members need not be allowed to read users. Its body names everything in full, since a
-- search_path of its own would cost as much as the probe. It has a search_path only if reading the
-- table runs functions of the project: in those, a caller could put other objects in place of the
-- ones that they name.
CREATE OR REPLACE FUNCTION {function} (id {key_type}) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER {path} AS $body$
BEGIN
    PERFORM FROM {users} AS u WHERE u.{key} OPERATOR(pg_catalog.=) $1;
    RETURN FOUND;
END
$body$


-- name: replace_is_segment_function
-- Runs at sync and when the schema is created. Locks nothing. Returns true if a view is that of a
-- segment, and raises an error otherwise. A query for members calls it once. It has to be safe in
-- parallel queries, and it sees the snapshot of its query.
CREATE OR REPLACE FUNCTION {function} (id bigint, view regclass) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = '' AS $body$
BEGIN
    PERFORM FROM {segments} AS s
    JOIN pg_catalog.pg_class AS c ON c.relname = replace(s.slug, '-', '_')
    WHERE s.id = $1 AND c.oid = $2;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the segment with the key % was renamed or deleted since it was loaded', $1
        USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Load it again.';
    END IF;
    RETURN true;
END
$body$


-- name: replace_is_member_function
-- Runs at sync and when the schema is created. Locks nothing. Returns whether a user was in a
-- segment at its last refresh; NULL if no segment of that slug is populated. It is a function
-- because only dynamic SQL can ask whether a materialized view is populated and read it in one
-- round trip.
CREATE OR REPLACE FUNCTION {function} (slug text, id anyelement) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = '' AS $body$
DECLARE
    name text := replace(slug, '-', '_');
    answer boolean;
BEGIN
    IF EXISTS (
        SELECT FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = {schema} AND c.relname = name AND c.relkind = 'm' AND c.relispopulated
    ) THEN
        EXECUTE pg_catalog.format(
            'SELECT EXISTS (SELECT FROM %I.%I WHERE user_id = $1 AND %1$I.is_user(user_id))', {schema}, name
        )
        INTO answer USING id;
    END IF;
    RETURN answer;
END
$body$


-- name: reset_settings
-- Runs right before the functions are created that keep the settings of this moment. Locks
-- nothing. Sets what a new session of this role has, but for the search_path, and returns the
-- former values.
WITH changed AS MATERIALIZED (
    SELECT name, setting, reset_val
    FROM pg_catalog.pg_settings
    WHERE name = ANY(%(names)s) AND name <> 'search_path' AND setting <> reset_val
)
SELECT
    pg_catalog.json_object_agg(name, setting)::text AS former,
    count(pg_catalog.set_config(name, reset_val, true)) AS number
FROM changed


-- name: keep_setting
-- Part of the functions under whose settings definitions are parsed or evaluated.
SET {name} FROM CURRENT


-- name: replace_settings_function
-- Runs at sync and when the schema is created. Locks nothing. Returns the settings under which
-- definitions are parsed, and so are what pin_settings reads. They are evaluated under the same,
-- except that there functions find only the names of Postgres.
CREATE OR REPLACE FUNCTION {function} () RETURNS TABLE (name text, setting text)
LANGUAGE sql STABLE {settings} SET TimeZone = {time_zone} SET search_path FROM CURRENT AS $body$
SELECT kept.name, pg_catalog.current_setting(kept.name)
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
CROSS JOIN LATERAL (SELECT pg_catalog.split_part(entry, '=', 1) AS name FROM unnest(p.proconfig) AS entry) AS kept
WHERE n.nspname = {live_schema} AND p.proname = 'settings'
ORDER BY kept.name
$body$


-- name: replace_refresh_function
-- Runs at sync and when the schema is created. Locks nothing. Refreshes the members of a segment
-- under the settings of all refreshes, for schedulers in the database and for people who would
-- write REFRESH. The caller must be allowed to refresh the view. It updates neither the index of
-- memberships nor the history; the next refresh by this package does.
CREATE OR REPLACE FUNCTION {function} (slug text) RETURNS void
LANGUAGE plpgsql VOLATILE {settings} SET TimeZone = {time_zone} SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    EXECUTE pg_catalog.format('REFRESH MATERIALIZED VIEW CONCURRENTLY %I.%I', {schema}, replace(slug, '-', '_'));
END
$body$


-- name: replace_is_live_member_function
-- Runs at sync and when the schema is created. Locks nothing. Returns whether a user is currently
-- in a segment, in the time zone of this package.
CREATE OR REPLACE FUNCTION {function} (slug text, id {key_type}) RETURNS boolean
LANGUAGE sql STABLE AS $body$
SELECT {function}($1, $2, {time_zone})
$body$


-- name: replace_live_members_function
-- Runs at sync and when the schema is created. Locks nothing. Returns the users who are currently
-- in a segment, in the time zone of this package.
CREATE OR REPLACE FUNCTION {function} (slug text) RETURNS SETOF {key_type}
LANGUAGE sql STABLE AS $body$
SELECT members FROM {function}($1, {time_zone}) AS members
$body$


-- name: replace_is_member_in_zone_function
-- Runs at sync and when the schema is created. Locks nothing. Returns whether a user is currently
-- in a segment, if its definition is evaluated in a time zone.
--
-- The definition is evaluated under the settings of all refreshes, whatever those of the session
-- are, and with the privileges of the views' owner, which it cannot give up in here. The error at
-- the end of the block undoes the settings that it changes. The key has one type only: a cast from
-- another type, which may be the caller's own, would run with those privileges as well.
CREATE OR REPLACE FUNCTION {function} (slug text, id {key_type}, time_zone text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER {settings} SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    answer boolean;
BEGIN
    PERFORM pg_catalog.set_config('TimeZone', time_zone, true);
    EXECUTE pg_catalog.format('SELECT EXISTS (SELECT FROM %I.%I WHERE user_id = $1)', {live_schema}, replace(slug, '-', '_'))
    INTO answer USING id;
    RAISE SQLSTATE 'SG000';
EXCEPTION WHEN SQLSTATE 'SG000' THEN
    RETURN answer;
END
$body$


-- name: replace_members_in_zone_function
-- Runs at sync and when the schema is created. Locks nothing. Returns the users who are currently
-- in a segment, if its definition is evaluated in a time zone, with the same precautions as
-- replace_is_member_in_zone_function.
CREATE OR REPLACE FUNCTION {function} (slug text, time_zone text) RETURNS SETOF {key_type}
LANGUAGE plpgsql STABLE SECURITY DEFINER {settings} SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM pg_catalog.set_config('TimeZone', time_zone, true);
    RETURN QUERY EXECUTE pg_catalog.format('SELECT user_id FROM %I.%I', {live_schema}, replace(slug, '-', '_'));
    RAISE SQLSTATE 'SG000';
EXCEPTION WHEN SQLSTATE 'SG000' THEN
    RETURN;
END
$body$


-- name: select_relation
-- Runs for grant_segments, at sync, and when the schema is created. Locks nothing. Returns the
-- schema, the name and the columns of a table.
SELECT n.nspname::text AS schema, c.relname::text AS name, ARRAY(
    SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
) AS columns
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%(name)s)


-- name: kind_of_segment
-- Part of the catalog: one kind of definition, and its word.
WHEN s.{column} <> '' THEN {word}


-- name: replace_offences_function
-- Runs at sync and when the schema is created. Locks nothing. Returns what the query of a view does
-- besides reading, and what it may not read. It looks at the query as Postgres stores it, which
-- contains every function and operator that is written in the definition. Spaces in names are
-- escaped there, so no name can match the patterns.
--
-- The tables and shared views of this package count wherever the view reads them, through the views
-- of others as well, each as often as it occurs. What it reads through the view of another segment
-- is that segment's concern. OFFSET 0 makes each lookup use an index, whatever the size of the
-- catalog is.
--
-- It is a function so that each session plans this once. It has no search_path of its own, so that
-- the names which it returns are those of the caller.
CREATE OR REPLACE FUNCTION {function} (
    checked regclass, harmless text[], unstoppable text[], package_names text[]
) RETURNS TABLE (what text, name text)
LANGUAGE plpgsql STABLE AS $body$
#variable_conflict use_column
DECLARE
    package oid[] := ARRAY(
        SELECT o.oid FROM unnest(package_names) AS p (relation)
        CROSS JOIN LATERAL (SELECT pg_catalog.to_regclass(p.relation)::oid AS oid) AS o
        WHERE o.oid IS NOT NULL
    );
    live_namespace oid := pg_catalog.to_regnamespace({live_schema});
BEGIN
    RETURN QUERY
    WITH RECURSIVE reader (oid) AS (
        SELECT checked::oid
        UNION
        SELECT c.oid
        FROM reader
        CROSS JOIN LATERAL (
            SELECT d.refobjid AS oid
            FROM pg_catalog.pg_rewrite AS w
            JOIN pg_catalog.pg_depend AS d
                ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
                AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> w.ev_class
            WHERE w.ev_class = reader.oid
            OFFSET 0
        ) AS read
        JOIN pg_catalog.pg_class AS c ON c.oid = read.oid
        WHERE c.relkind IN ('v', 'm') AND c.oid <> ALL (package)
            AND NOT coalesce(c.relkind = 'v' AND c.relnamespace = live_namespace, false)
    ),
    rule AS MATERIALIZED (
        SELECT ev_action::text AS tree FROM pg_catalog.pg_rewrite WHERE ev_class = checked
    ),
    function AS MATERIALIZED (
        SELECT DISTINCT capture[1]::oid AS oid
        FROM rule
        CROSS JOIN pg_catalog.regexp_matches(tree, ':[a-z]*(?:funcid|fnoid) (\d+)', 'g') AS capture
    )
    SELECT 'locks', NULL
    FROM rule
    WHERE tree LIKE '%:hasForUpdate true%'
    UNION ALL
    SELECT 'segment', n.nspname || '.' || p.proname
    FROM (
        SELECT oid FROM function
        UNION
        SELECT d.refobjid
        FROM reader
        JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = reader.oid
        JOIN pg_catalog.pg_depend AS d
            ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
            AND d.refclassid = 'pg_catalog.pg_proc'::regclass
    ) AS call
    JOIN pg_catalog.pg_proc AS p ON p.oid = call.oid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname IN ({schema}, {live_schema})
    UNION ALL
    SELECT
        CASE WHEN p.proname LIKE '%\_to\_xml%' OR p.proname IN ('ts_stat', 'ts_rewrite') THEN 'hides' ELSE 'leaves' END,
        p.proname::text
    FROM function
    JOIN pg_catalog.pg_proc AS p ON p.oid = function.oid
    WHERE p.oid < 16384
        AND (p.provolatile = 'v' AND p.proname <> ALL (harmless) OR p.proname LIKE '%\_to\_xml%')
    UNION ALL
    SELECT 'runs on', p.proname::text
    FROM function
    JOIN pg_catalog.pg_proc AS p ON p.oid = function.oid
    WHERE p.oid < 16384 AND p.prosrc = ANY (unstoppable)
    UNION ALL
    SELECT 'reads', capture[1]::oid::regclass::text
    FROM (
        SELECT w.ev_action::text AS tree
        FROM reader
        JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = reader.oid
        WHERE EXISTS (
            SELECT FROM pg_catalog.pg_depend AS d
            WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
                AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = ANY (package)
        )
        OFFSET 0
    ) AS reading
    CROSS JOIN LATERAL pg_catalog.regexp_matches(reading.tree, ':rtekind 0 :relid (\d+)', 'g') AS capture
    WHERE capture[1]::oid = ANY (package)
    ORDER BY 1, 2;
END
$body$
