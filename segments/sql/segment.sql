-- Segments: create, replace, comment, rename and drop the two views of one.


-- name: select_views
-- Runs whenever the views of segments are compared with their rows. Locks nothing. Returns the
-- views in both schemas by name, or those of one name, and what is known of them.
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
-- Runs when a segment is created or its definition has changed. Takes AccessExclusive on the live
-- view, so it waits for readers of the view and for a running refresh. The members, their OID,
-- GRANTs and dependents are not touched.
CREATE OR REPLACE VIEW {view} AS
{definition}


-- name: create_members_view
-- Runs when a segment is created. Locks nothing that exists. The members are sorted because
-- REFRESH CONCURRENTLY finds duplicates with a merge join, which takes a quarter of the time on
-- sorted rows.
CREATE MATERIALIZED VIEW {view} AS
SELECT user_id FROM {live} ORDER BY user_id
WITH NO DATA


-- name: create_members_index
-- Runs when a segment is created or has lost its index. Takes Share on the members while it runs.
CREATE UNIQUE INDEX ON {view} (user_id)


-- name: comment_live_view
-- Runs when a live view was replaced, detached or renamed. Takes ShareUpdateExclusive on it.
COMMENT ON VIEW {view} IS {comment}


-- name: comment_members_view
-- Runs when a segment is created, renamed or described differently. Takes ShareUpdateExclusive on
-- its members.
COMMENT ON MATERIALIZED VIEW {view} IS {comment}


-- name: comment_column
-- Runs when a segment is created, and at sync. Takes ShareUpdateExclusive on the view.
COMMENT ON COLUMN {column} IS {comment}


-- name: rename_live_view
-- Runs when a slug has changed. Takes AccessExclusive on the live view for an instant.
ALTER VIEW {view} RENAME TO {name}


-- name: rename_members_view
-- Runs when a slug has changed. Takes AccessExclusive on the members for an instant.
ALTER MATERIALIZED VIEW {view} RENAME TO {name}


-- name: drop_members_view
-- Runs when a segment is deleted. Takes AccessExclusive on its members. Postgres refuses while
-- anything else reads them.
DROP MATERIALIZED VIEW IF EXISTS {view}


-- name: drop_live_view
-- Runs when a segment is deleted. Takes AccessExclusive on the live view. Postgres refuses while
-- anything else reads it.
DROP VIEW IF EXISTS {view}


-- name: detach_live_view
-- Runs before migrations and for detach_segments. Takes AccessExclusive on the live view, so it
-- waits for readers of the view and for a running refresh. Afterwards, the tables of the
-- definition may be changed in any way.
CREATE OR REPLACE VIEW {view} AS
SELECT d AS user_id FROM {function}({slug}, NULL::{key_type}) AS d


-- name: select_attached
-- Runs before migrations, and before each of their statements that may change the schema. Locks
-- nothing. Returns the live views of this package that still read something, by their comments.
-- Some tools, such as Citus, recreate views without comments; then the members show whose they are.
SELECT live.relname::text
FROM pg_catalog.pg_class AS live
LEFT JOIN pg_catalog.pg_description AS d
    ON d.classoid = 'pg_catalog.pg_class'::regclass AND d.objoid = live.oid AND d.objsubid = 0
WHERE live.relkind = 'v' AND live.relnamespace = to_regnamespace(%(live_schema)s)
    AND CASE
        WHEN pg_catalog.strpos(d.description, %(signature)s) > 0 THEN pg_catalog.split_part(
            pg_catalog.split_part(d.description, %(signature)s || ' ', 2), ' ', 1
        ) <> ALL (%(detached)s)
        ELSE EXISTS (
            SELECT FROM pg_catalog.pg_depend AS reads
            JOIN pg_catalog.pg_rewrite AS w ON w.oid = reads.objid
            JOIN pg_catalog.pg_class AS members ON members.oid = w.ev_class
            WHERE reads.classid = 'pg_catalog.pg_rewrite'::regclass
                AND reads.refclassid = 'pg_catalog.pg_class'::regclass
                AND reads.refobjid = live.oid
                AND members.relkind = 'm' AND members.relname = live.relname
                AND members.relnamespace = to_regnamespace(%(schema)s)
        )
    END
ORDER BY 1
