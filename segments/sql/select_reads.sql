-- Runs before several segments are refreshed or deleted, and when a definition is saved; locks
-- nothing. Which segment reads which, through any chain of views, whoever made them.
WITH RECURSIVE edge AS (
    SELECT DISTINCT w.ev_class AS relation, d.refobjid AS reads
    FROM pg_catalog.pg_rewrite AS w
    JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
        AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> w.ev_class
),
own AS (
    SELECT oid, relname, relnamespace
    FROM pg_catalog.pg_class
    WHERE relkind IN ('v', 'm')
        AND relnamespace IN (to_regnamespace(%(schema)s), to_regnamespace(%(live_schema)s))
),
closure (segment, relation, ends) AS (
    SELECT relname, oid, false FROM own WHERE relnamespace = to_regnamespace(%(live_schema)s)
    UNION
    SELECT c.segment, e.reads, e.reads IN (SELECT oid FROM own)
    FROM closure AS c
    JOIN edge AS e ON e.relation = c.relation
    WHERE NOT c.ends
)
SELECT DISTINCT c.segment::text, own.relname::text AS reads
FROM closure AS c
JOIN own ON own.oid = c.relation
WHERE c.ends
ORDER BY 1, 2
