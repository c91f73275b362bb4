-- Runs for `manage.py check --database` and segments_grants; locks nothing. What the application's role
-- lacks to ask for members, where another one owns the views; of the views one that it may not read.
(
    SELECT 'USAGE on schema ' || n.nspname AS words
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname IN (%(schema)s, %(live_schema)s)
        AND NOT pg_catalog.has_schema_privilege(%(role)s, n.oid, 'USAGE')
    ORDER BY n.nspname
)
UNION ALL
(
    SELECT pg_catalog.format('SELECT on %%I.%%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relkind IN ('v', 'm')
        AND NOT pg_catalog.has_table_privilege(%(role)s, c.oid, 'SELECT')
    ORDER BY c.relname
    LIMIT 1
)
