-- Runs before the view over all memberships is replaced or detached; locks nothing.
SELECT pg_catalog.format_type(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = to_regclass(%(view)s) AND a.attname = 'user_id'
