-- Runs before drop_segments; locks nothing. What others have made that would have to go first, with what of
-- this package it needs: views and functions on the views or their row types, columns of such a type. What
-- Postgres drops along, such as a further index on members, is not among it.
WITH own AS (
    SELECT c.oid, 'pg_catalog.pg_class'::regclass AS class, c.oid::regclass::text AS name
    FROM pg_catalog.pg_class AS c
    WHERE (c.relkind = 'm' AND c.relnamespace = to_regnamespace(%(schema)s) AND c.relname = ANY(%(names)s::text[]))
        OR (c.relkind = 'v' AND c.relnamespace = to_regnamespace(%(live_schema)s) AND c.relname = ANY(%(names)s::text[]))
        OR (c.relkind = 'v' AND c.relnamespace = to_regnamespace(%(schema)s) AND c.relname IN ('membership', 'catalog'))
    UNION ALL
    SELECT p.oid, 'pg_catalog.pg_proc'::regclass, p.oid::regprocedure::text
    FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname || '.' || p.proname = ANY(%(functions)s::text[])
),
type (oid, name) AS (
    SELECT unnest(ARRAY[t.oid, t.typarray]), own.name
    FROM own
    JOIN pg_catalog.pg_type AS t ON t.typrelid = own.oid
    WHERE own.class = 'pg_catalog.pg_class'::regclass
),
needed AS (
    SELECT class, oid, name FROM own
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, oid, name FROM type
)
SELECT DISTINCT
    CASE
        WHEN w.oid IS NULL THEN pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
        ELSE pg_catalog.pg_describe_object('pg_catalog.pg_class'::regclass, w.ev_class, 0)
    END AS dependent,
    needed.name AS needs
FROM needed
JOIN pg_catalog.pg_depend AS d
    ON d.refclassid = needed.class AND d.refobjid = needed.oid AND d.deptype = 'n'
LEFT JOIN pg_catalog.pg_rewrite AS w
    ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND w.oid = d.objid
WHERE NOT EXISTS (
    SELECT FROM own
    WHERE own.class = 'pg_catalog.pg_class'::regclass AND own.oid = coalesce(w.ev_class, d.objid)
        AND (w.oid IS NOT NULL OR d.classid = own.class)
)
ORDER BY 1, 2
