-- name: wrap_distinct
-- Part of a live view: the ids that a definition names, all of them known to be those of users.
SELECT DISTINCT definition.{column}::{key_type} AS user_id
FROM (
{definition}
) AS definition
WHERE definition.{column} IS NOT NULL


-- name: wrap_semi_join
-- Part of a live view: the users that a definition names, whatever it names besides. The qualifier
-- is vital: without it, a definition that has no such column would name every user.
SELECT u.{key}::{key_type} AS user_id
FROM {users} AS u
WHERE u.{key} IN (SELECT definition.{column} FROM (
{definition}
) AS definition)


-- name: wrap_static_ids
-- Part of a live view: the users that a segment lists.
SELECT u.{key}::{key_type} AS user_id
FROM {users} AS u
WHERE u.{key} IN (SELECT s.user_id FROM {static} AS s WHERE s.segment_id = {segment})


-- name: select_nobody
-- Part of a live view: the query of a manager method whose queryset is known to be empty.
SELECT {key} FROM {users} WHERE false


-- name: select_origin
-- Runs while a definition is compiled; locks nothing. Whether every value of a table's column is
-- known to be the key of an existing user: it is that key, or has a validated foreign key to it.
-- A table that others inherit from (not partitions) proves nothing of their rows.
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
-- Runs when a definition gives ids of a wrong type; locks nothing.
SELECT pg_catalog.format_type(%(oid)s, NULL)


-- name: select_calls
-- Runs when a view was made of a definition, before anything of that is evaluated; locks nothing. What its query
-- does besides reading, by the query as Postgres keeps it: each function and operator that is written in the
-- definition, and none of those in the views that it reads. In there, spaces in names are escaped.
WITH rule AS MATERIALIZED (
    SELECT ev_action::text AS tree FROM pg_catalog.pg_rewrite WHERE ev_class = %(view)s::regclass
),
called AS (
    SELECT DISTINCT found[1]::oid AS oid
    FROM rule
    CROSS JOIN pg_catalog.regexp_matches(tree, ':[a-z]*(?:funcid|fnoid) (\d+)', 'g') AS found
)
SELECT 'locks' AS what, NULL AS name
FROM rule
WHERE tree LIKE '%%:hasForUpdate true%%'
UNION ALL
SELECT 'segment', n.nspname || '.' || p.proname
FROM called
JOIN pg_catalog.pg_proc AS p ON p.oid = called.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname IN (%(schema)s, %(live_schema)s)
UNION ALL
SELECT
    CASE WHEN p.proname LIKE '%%\_to\_xml%%' OR p.proname IN ('ts_stat', 'ts_rewrite') THEN 'hides' ELSE 'leaves' END,
    p.proname
FROM called
JOIN pg_catalog.pg_proc AS p ON p.oid = called.oid
WHERE p.oid < 16384
    AND (p.provolatile = 'v' AND p.proname <> ALL (%(harmless)s) OR p.proname LIKE '%%\_to\_xml%%')
ORDER BY 1, 2


-- name: create_incoming_ids
-- Runs when static ids are saved; needs TEMP on the database; locks nothing.
CREATE TEMPORARY TABLE segments_incoming (line bigint, user_id {key_type}) ON COMMIT DROP


-- name: copy_incoming_ids
-- Runs when static ids are saved; the ids stream in, none are kept in Python.
COPY pg_temp.segments_incoming (line, user_id) FROM STDIN


-- name: select_unknown_ids
-- Runs when static ids are saved; AccessShare on the users. The lines that name no user, and how
-- many there are in all.
SELECT i.line, i.user_id, count(*) OVER () AS total
FROM pg_temp.segments_incoming AS i
WHERE NOT EXISTS (SELECT FROM {users} AS u WHERE u.{key} = i.user_id)
ORDER BY i.line
LIMIT %(limit)s


-- name: delete_static_ids
-- Runs when static ids are saved; row locks on those that are no longer listed.
DELETE FROM {static} AS s
WHERE s.segment_id = %(segment)s
    AND NOT EXISTS (SELECT FROM pg_temp.segments_incoming AS i WHERE i.user_id = s.user_id)


-- name: insert_static_ids
-- Runs when static ids are saved; row locks on those that are newly listed.
INSERT INTO {static} (segment_id, user_id)
SELECT DISTINCT %(segment)s, i.user_id FROM pg_temp.segments_incoming AS i
ON CONFLICT DO NOTHING


-- name: drop_incoming_ids
-- Runs when static ids have been saved, since the caller's transaction may save others.
DROP TABLE pg_temp.segments_incoming
