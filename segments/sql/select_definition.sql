-- Runs when a definition does not compile any more; locks nothing. What its live view reads, by the
-- names of today.
SELECT pg_catalog.pg_get_viewdef(%(view)s::regclass, true)
