-- Runs for segments_grants; locks nothing. Whether a role may do everything; no row where there is no such role.
SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = %(role)s
