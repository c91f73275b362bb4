-- Runs for segments_grants --revoke; locks nothing.
SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %(role)s)
