-- Runs at sync and before a segment's views are created; locks nothing. What should be there before any
-- segment is, and is not.
WITH wanted (schema, name, kind) AS (
    VALUES
        (%(schema)s, 'membership', 'view'),
        (%(schema)s, 'catalog', 'view'),
        (%(schema)s, 'is_member', 'function'),
        (%(schema)s, 'is_user', 'function'),
        (%(schema)s, 'detached', 'function'),
        (%(schema)s, 'trace', 'function'),
        (%(schema)s, 'unchanged_until', 'function'),
        (%(live_schema)s, 'is_member', 'function'),
        (%(live_schema)s, 'members', 'function')
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
