-- What an editor of definitions completes.


-- name: select_readable
-- Runs when the admin's form asks for names to complete, as the role that evaluates definitions.
-- Locks nothing. Returns the tables and views that this role may read and that a definition may,
-- with the columns.
SELECT n.nspname::text AS schema, c.relname::text AS relation, array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
    AND n.nspname NOT IN (%(standard_schema)s, %(live_schema)s) AND n.nspname !~ '^pg_'
    AND NOT (c.relname = ANY(%(hidden)s) AND (n.nspname = %(schema)s OR c.relkind = 'r'))
    AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
GROUP BY n.nspname, c.relname
ORDER BY n.nspname, c.relname
LIMIT %(limit)s


-- name: select_search_path
-- Runs after select_readable. Locks nothing. Returns the schemas whose names need no qualifier.
SELECT pg_catalog.current_schemas(false)::text[]
