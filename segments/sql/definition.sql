-- Definitions: the parts of a live view, and what compiling one asks of the catalog.


-- name: wrap_distinct
-- Part of a live view, if every id that the definition selects is known to be the key of a user.
SELECT DISTINCT definition.{column}::{key_type} AS user_id
FROM (
{definition}
) AS definition
WHERE definition.{column} IS NOT NULL


-- name: wrap_semi_join
-- Part of a live view, if the definition may also select ids that are not users. The qualifier is
-- vital: without it, a definition that lacks the column would select every user, since the name
-- would then refer to the table of users.
SELECT u.{key}::{key_type} AS user_id
FROM {users} AS u
WHERE u.{key} IN (SELECT definition.{column} FROM (
{definition}
) AS definition)


-- name: wrap_static_ids
-- Part of a live view: the users in a segment's list of ids.
SELECT u.{key}::{key_type} AS user_id
FROM {users} AS u
WHERE u.{key} IN (SELECT s.user_id FROM {static} AS s WHERE s.segment_id = {segment})


-- name: select_nobody
-- Part of a live view: the query of a manager method whose queryset is known to be empty.
SELECT {key} FROM {users} WHERE false


-- name: select_origin
-- Runs while a definition is compiled. Locks nothing. Returns whether every value of a table's
-- column is known to be the key of an existing user: the column is that key, or has a validated
-- foreign key to it. A table that other tables inherit from proves nothing about their rows,
-- unless they are its partitions.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = %(users)s::regclass AND a.attname = %(key)s
        AND a.attrelid = %(table)s AND a.attnum = %(column)s
    UNION ALL
    SELECT FROM pg_catalog.pg_constraint AS c
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.confrelid AND a.attnum = c.confkey[1]
    WHERE c.contype = 'f' AND c.convalidated
        AND c.conrelid = %(table)s AND c.conkey = ARRAY[%(column)s]::smallint[]
        AND c.confrelid = %(users)s::regclass AND a.attname = %(key)s
) AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_inherits AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.inhparent
    WHERE i.inhparent = %(table)s AND c.relkind <> 'p'
)


-- name: select_type_name
-- Runs when a definition selects ids of a wrong type. Locks nothing. Returns the name of the type.
SELECT pg_catalog.format_type(%(oid)s, NULL)


-- name: select_calls
-- Runs after a view of a definition was created, before anything of it is evaluated. Locks
-- nothing. Returns what the view's query does besides reading, or what cannot be stopped. It looks at the query as Postgres
-- stores it, which contains every function and operator written in the definition, and none of
-- those in the views that it reads. Spaces in names are escaped there, so no name can match the
-- patterns.
WITH rule AS MATERIALIZED (
    SELECT ev_action::text AS tree FROM pg_catalog.pg_rewrite WHERE ev_class = %(view)s::regclass
),
function AS (
    SELECT DISTINCT capture[1]::oid AS oid
    FROM rule
    CROSS JOIN pg_catalog.regexp_matches(tree, ':[a-z]*(?:funcid|fnoid) (\d+)', 'g') AS capture
)
SELECT 'locks' AS what, NULL AS name
FROM rule
WHERE tree LIKE '%%:hasForUpdate true%%'
UNION ALL
SELECT 'segment', n.nspname || '.' || p.proname
FROM function
JOIN pg_catalog.pg_proc AS p ON p.oid = function.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname IN (%(schema)s, %(live_schema)s)
UNION ALL
SELECT
    CASE WHEN p.proname LIKE '%%\_to\_xml%%' OR p.proname IN ('ts_stat', 'ts_rewrite') THEN 'hides' ELSE 'leaves' END,
    p.proname
FROM function
JOIN pg_catalog.pg_proc AS p ON p.oid = function.oid
WHERE p.oid < 16384
    AND (p.provolatile = 'v' AND p.proname <> ALL (%(harmless)s) OR p.proname LIKE '%%\_to\_xml%%')
UNION ALL
SELECT 'runs on', p.proname
FROM function
JOIN pg_catalog.pg_proc AS p ON p.oid = function.oid
WHERE p.oid < 16384 AND p.prosrc = ANY (%(unstoppable)s)
ORDER BY 1, 2


-- name: create_incoming_ids
-- Runs when static ids are checked or saved. Needs TEMP on the database. Locks nothing.
CREATE TEMPORARY TABLE segments_incoming (line bigint, user_id {key_type}) ON COMMIT DROP


-- name: copy_incoming_ids
-- Runs when static ids are checked or saved. Streams the ids, so Python never holds them all.
COPY pg_temp.segments_incoming (line, user_id) FROM STDIN


-- name: select_unknown_ids
-- Runs when static ids are checked or saved. Takes AccessShare on the table of users. Returns the
-- first lines that name no user, and how many there are in all.
SELECT i.line, i.user_id, count(*) OVER () AS total
FROM pg_temp.segments_incoming AS i
WHERE NOT EXISTS (SELECT FROM {users} AS u WHERE u.{key} = i.user_id)
ORDER BY i.line
LIMIT %(limit)s


-- name: delete_static_ids
-- Runs when static ids are saved. Takes row locks on the ids that are no longer listed.
DELETE FROM {static} AS s
WHERE s.segment_id = %(segment)s
    AND NOT EXISTS (SELECT FROM pg_temp.segments_incoming AS i WHERE i.user_id = s.user_id)


-- name: insert_static_ids
-- Runs when static ids are saved. Takes row locks on the ids that are newly listed.
INSERT INTO {static} (segment_id, user_id)
SELECT DISTINCT %(segment)s, i.user_id FROM pg_temp.segments_incoming AS i
ON CONFLICT DO NOTHING


-- name: drop_incoming_ids
-- Runs when static ids have been checked or saved, since the caller's transaction may go on to
-- save others.
DROP TABLE pg_temp.segments_incoming
