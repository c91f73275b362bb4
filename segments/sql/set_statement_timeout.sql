-- Runs before a preview evaluates a definition; locks nothing. Until the savepoint is rolled back.
SELECT pg_catalog.set_config('statement_timeout', %(milliseconds)s, true)
