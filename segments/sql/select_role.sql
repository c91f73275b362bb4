-- Runs before set_role.sql; locks nothing. The role whose rights this transaction has, `none` if its own.
SELECT pg_catalog.current_setting('role')
