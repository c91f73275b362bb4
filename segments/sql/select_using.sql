-- Runs for segments_using; locks nothing. The segments whose live views read a table, or one column of
-- it, and the views that read those segments, through any chain of views.
WITH RECURSIVE edge AS (
    SELECT w.ev_class AS relation, d.refobjid AS reads, d.refobjsubid AS number
    FROM pg_catalog.pg_rewrite AS w
    JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
        AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> w.ev_class
),
user_of (relation) AS (
    SELECT e.relation FROM edge AS e
    WHERE e.reads = %(table)s::regclass
        AND (%(column)s::text IS NULL OR e.number = (
            SELECT a.attnum FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = %(table)s::regclass AND a.attname = %(column)s AND NOT a.attisdropped
        ))
    UNION
    SELECT e.relation FROM user_of AS u JOIN edge AS e ON e.reads = u.relation
)
SELECT
    c.relname::text AS name,
    c.oid::regclass::text AS view,
    n.nspname = %(live_schema)s AS live,
    n.nspname IN (%(schema)s, %(live_schema)s) AS own,
    pg_catalog.pg_get_userbyid(c.relowner)::text AS owner
FROM user_of AS u
JOIN pg_catalog.pg_class AS c ON c.oid = u.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY own DESC, name
