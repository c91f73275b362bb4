-- name: create_schema
-- Runs when the first segment is created or synced; needs CREATE on the database; locks nothing.
CREATE SCHEMA {schema}


-- name: comment_schema
-- Runs when a schema has been created; locks the schema against being dropped.
COMMENT ON SCHEMA {schema} IS {comment}


-- name: select_schema
-- Runs before a schema is used; locks nothing. Not by to_regnamespace, which may answer out of a cache
-- that does not know yet what another session has committed while this one waited for its lock.
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %(schema)s)


-- name: select_schema_comment
-- Runs at sync; locks nothing. What a schema says of itself.
SELECT pg_catalog.obj_description(n.oid, 'pg_namespace')
FROM pg_catalog.pg_namespace AS n
WHERE n.nspname = %(schema)s


-- name: select_missing_shared
-- Runs at sync and before a segment's views are created; locks nothing. What should be there before any
-- segment is, and is not.
WITH wanted (schema, name, kind) AS (
    SELECT %(schema)s, unnest(%(views)s::text[]), 'view'
    UNION ALL
    SELECT %(schema)s, unnest(%(functions)s::text[]), 'function'
    UNION ALL
    SELECT %(live_schema)s, unnest(%(live_functions)s::text[]), 'function'
)
SELECT schema || '.' || name || CASE kind WHEN 'function' THEN '()' ELSE '' END AS name
FROM wanted
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE kind = 'view' AND n.nspname = wanted.schema AND c.relname = wanted.name
) AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE kind = 'function' AND n.nspname = wanted.schema AND p.proname = wanted.name
)
UNION ALL
SELECT %(live_schema)s WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %(live_schema)s)
ORDER BY 1


-- name: drop_shared_view
-- Runs when the key of the user model has another type, since that of a view's column cannot change;
-- AccessExclusive on the view. Refused while others read it.
DROP VIEW IF EXISTS {view}


-- name: drop_function
-- Runs for drop_segments, and where the key of the user model has another type; AccessExclusive on the function. Refused while others use it.
DROP FUNCTION IF EXISTS {function} {arguments}


-- name: drop_schema
-- Runs for drop_segments; AccessExclusive on the schema. Refused while anything is in it.
DROP SCHEMA IF EXISTS {schema}


-- name: select_contents
-- Runs at the end of drop_segments; locks nothing. What is in a schema, so that it is not dropped, but for
-- what goes along with something else in there.
SELECT pg_catalog.pg_describe_object(d.classid, d.objid, 0) AS what
FROM pg_catalog.pg_depend AS d
WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = to_regnamespace(%(schema)s)::oid
    AND d.deptype = 'n'
ORDER BY 1


-- name: grant_execute
-- Runs at sync and when the schema is created; locks nothing. That is Postgres' own default, which hardened
-- databases change; who may call the function is told by who may use its schema.
GRANT EXECUTE ON FUNCTION {function} {arguments} TO PUBLIC


-- name: select_path
-- Runs at sync and when the schema is created; locks nothing. The schemas in which this session looks names up,
-- where to read a table runs functions that the project has written: those of its policies, or of a view.
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
-- Runs before the view over all memberships is replaced or detached; locks nothing.
SELECT pg_catalog.format_type(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = to_regclass(%(view)s) AND a.attname = 'user_id'


-- name: detach_membership_view
-- Runs before a migration that changes the key of the user model; AccessExclusive on the view.
CREATE OR REPLACE VIEW {view} AS
SELECT d AS user_id, NULL::bigint AS segment_id, NULL::varchar(63) AS slug, NULL::timestamptz AS entered_at
FROM {function}('membership', NULL::{key_type}) AS d


-- name: replace_membership_view
-- Runs at sync and when the schema is created; AccessExclusive on the view for an instant.
-- Columns may only ever be appended.
CREATE OR REPLACE VIEW {view} AS
SELECT m.user_id::{key_type} AS user_id, m.segment_id, s.slug, m.entered_at
FROM {membership} AS m
JOIN {segment} AS s ON s.id = m.segment_id


-- name: replace_catalog_view
-- Runs at sync and when the schema is created; AccessExclusive on the view for an instant.
-- Columns may only ever be appended.
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
    CASE WHEN s.is_active THEN {due} END AS due
FROM {segment} AS s
LEFT JOIN LATERAL (
    SELECT r.duration
    FROM {refresh} AS r
    WHERE r.segment_id = s.id
    ORDER BY r.started_at DESC
    LIMIT 1
) AS last ON true


-- name: due_of_segment
-- Part of what asks which segments are due. When its interval has passed since the last attempt, or a
-- part of it between nine and ten tenths that is a segment's own, so that many with one interval do not
-- start together. After a failure the interval, doubled with each further one, up to a day. At once
-- when there was no attempt, or the definition has changed since. Never without an interval. One that leads
-- out of the calendar would be an error for all segments, and so counts as a century.
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
-- Runs at sync and when the schema is created; locks nothing. What a live view reads while it is
-- detached: a volatile function, since the planner answers for others without calling them. EXECUTE
-- stays with PUBLIC, so that whoever reads the view gets the message.
CREATE OR REPLACE FUNCTION {function} (slug text, key anyelement) RETURNS SETOF anyelement
LANGUAGE plpgsql VOLATILE SET search_path = '' AS $body$
BEGIN
    RAISE EXCEPTION 'segment "%" is detached from its tables', slug
    USING ERRCODE = 'object_not_in_prerequisite_state',
        HINT = 'A schema change is under way or was cut short. Members and checks of the last refresh go on. '
            'When the change is over, this attaches it: manage.py sync_segments';
END
$body$


-- name: replace_is_user_function
-- Runs at sync and when the schema is created; locks nothing. Whether there is a user of this key. A function,
-- of which each session keeps the plan: to plan a sub-select in its place takes longer than all of a check. With
-- the rights of the owner, as who may read members need not be one who may read users. All in it is named in
-- full instead of by a search_path of its own, which would cost as much as the probe. It has one only where
-- the table runs functions of the project, which would do what a caller has put in the way of their names.
CREATE OR REPLACE FUNCTION {function} (id {key_type}) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER {path} AS $body$
BEGIN
    PERFORM FROM {users} AS u WHERE u.{key} OPERATOR(pg_catalog.=) $1;
    RETURN FOUND;
END
$body$


-- name: replace_is_member_function
-- Runs at sync and when the schema is created; locks nothing. True or false as of the last refresh;
-- NULL where no segment of that slug has been populated. A function, since only dynamic SQL can ask
-- whether a materialized view is populated and read it in one round trip.
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


-- name: replace_is_live_member_function
-- Runs at sync and when the schema is created; locks nothing. Whether a user is in a segment now: the
-- definition is evaluated with the rights of the views' owner, which it cannot give up in here; the
-- settings that it changes are undone with the block. Of one type, since the cast of another, which may be
-- the caller's own, would have those rights as well.
CREATE OR REPLACE FUNCTION {function} (slug text, id {key_type}) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $body$
DECLARE
    answer boolean;
BEGIN
    EXECUTE pg_catalog.format('SELECT EXISTS (SELECT FROM %I.%I WHERE user_id = $1)', {live_schema}, replace(slug, '-', '_'))
    INTO answer USING id;
    RAISE SQLSTATE 'SG000';
EXCEPTION WHEN SQLSTATE 'SG000' THEN
    RETURN answer;
END
$body$


-- name: replace_live_members_function
-- Runs at sync and when the schema is created; locks nothing. Who is in a segment now, as
-- replace_is_live_member_function.sql.
CREATE OR REPLACE FUNCTION {function} (slug text) RETURNS SETOF {key_type}
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $body$
BEGIN
    RETURN QUERY EXECUTE pg_catalog.format('SELECT user_id FROM %I.%I', {live_schema}, replace(slug, '-', '_'));
    RAISE SQLSTATE 'SG000';
EXCEPTION WHEN SQLSTATE 'SG000' THEN
    RETURN;
END
$body$


-- name: select_relation
-- Runs for segments_grants, at sync and when the schema is created; locks nothing. Where a table is, and its columns.
SELECT n.nspname::text AS schema, c.relname::text AS name, ARRAY(
    SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
) AS columns
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%(name)s)


-- name: kind_of_segment
-- Part of the catalog: the word for one kind of definition.
WHEN s.{column} <> '' THEN {word}
