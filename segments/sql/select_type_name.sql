-- Runs when a definition gives ids of a wrong type; locks nothing.
SELECT pg_catalog.format_type(%(oid)s, NULL)
