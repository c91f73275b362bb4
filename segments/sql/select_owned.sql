-- Runs for segments_grants; locks nothing. All views and functions in the two schemas, as ALTER names them.
SELECT
    CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind,
    pg_catalog.format('%%I.%%I', n.nspname, c.relname) AS name
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname IN (%(schema)s, %(live_schema)s) AND c.relkind IN ('v', 'm')
UNION ALL
SELECT 'FUNCTION', p.oid::regprocedure::text
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname IN (%(schema)s, %(live_schema)s)
ORDER BY 1, 2
