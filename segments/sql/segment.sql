-- name: select_views
-- Runs whenever views are compared with what they should be; locks nothing.
SELECT
    coalesce(members.relname, live.relname)::text AS name,
    live.oid AS live,
    pg_catalog.obj_description(live.oid, 'pg_class') AS live_comment,
    (
        SELECT pg_catalog.format_type(a.atttypid, a.atttypmod)
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = live.oid AND a.attname = 'user_id'
    ) AS key_type,
    members.oid AS members,
    pg_catalog.obj_description(members.oid, 'pg_class') AS members_comment,
    coalesce(members.relispopulated, false) AS populated,
    EXISTS (
        SELECT FROM pg_catalog.pg_index AS i
        WHERE i.indrelid = members.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
            AND i.indexprs IS NULL
    ) AS indexed,
    EXISTS (
        SELECT FROM pg_catalog.pg_rewrite AS w
        JOIN pg_catalog.pg_depend AS d
            ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
            AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = live.oid
        WHERE w.ev_class = members.oid
    ) AS paired
FROM (
    SELECT * FROM pg_catalog.pg_class
    WHERE relkind = 'm' AND relnamespace = to_regnamespace(%(schema)s)
        AND (%(name)s::text IS NULL OR relname = %(name)s)
) AS members
FULL JOIN (
    SELECT * FROM pg_catalog.pg_class
    WHERE relkind = 'v' AND relnamespace = to_regnamespace(%(live_schema)s)
        AND (%(name)s::text IS NULL OR relname = %(name)s)
) AS live ON live.relname = members.relname
ORDER BY 1


-- name: replace_live_view
-- Runs when a definition has changed; AccessExclusive on the live view: waits for its readers and
-- for a running refresh. The members, their OID, GRANTs and dependents are not touched.
CREATE OR REPLACE VIEW {view} AS
{definition}


-- name: create_members_view
-- Runs when a segment is created; locks nothing that exists. Sorted, as REFRESH CONCURRENTLY finds
-- duplicates with a merge join: on sorted rows that takes a quarter of the time.
CREATE MATERIALIZED VIEW {view} AS
SELECT user_id FROM {live} ORDER BY user_id
WITH NO DATA


-- name: create_members_index
-- Runs when a segment is created, or has lost its index; Share lock on the members for its run.
CREATE UNIQUE INDEX ON {view} (user_id)


-- name: comment_live_view
-- Runs when a live view was replaced or renamed; ShareUpdateExclusive on it.
COMMENT ON VIEW {view} IS {comment}


-- name: comment_members_view
-- Runs when a segment is created, renamed or described anew; ShareUpdateExclusive on its members.
COMMENT ON MATERIALIZED VIEW {view} IS {comment}


-- name: comment_column
-- Runs when a segment is created, and at sync; ShareUpdateExclusive on the view.
COMMENT ON COLUMN {column} IS {comment}


-- name: rename_live_view
-- Runs when a slug has changed; AccessExclusive on the live view for an instant.
ALTER VIEW {view} RENAME TO {name}


-- name: rename_members_view
-- Runs when a slug has changed; AccessExclusive on the members for an instant.
ALTER MATERIALIZED VIEW {view} RENAME TO {name}


-- name: drop_members_view
-- Runs when a segment is deleted; AccessExclusive on its members. Refused while others read them.
DROP MATERIALIZED VIEW IF EXISTS {view}


-- name: drop_live_view
-- Runs when a segment is deleted; AccessExclusive on the live view. Refused while others read it.
DROP VIEW IF EXISTS {view}
