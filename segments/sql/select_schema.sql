-- Runs before a schema is used; locks nothing.
SELECT to_regnamespace(%(schema)s) IS NOT NULL
