-- Runs before and after DDL and REFRESH where the views have an owner of their own; locks nothing.
SELECT pg_catalog.set_config('role', %(role)s, true)
