-- Runs before a schema is used; locks nothing. Not by to_regnamespace, which may answer out of a cache
-- that does not know yet what another session has committed while this one waited for its lock.
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %(schema)s)
