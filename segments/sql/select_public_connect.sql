-- Runs for segments_grants; locks nothing. Whether every role may connect to this database.
SELECT pg_catalog.has_database_privilege('public', pg_catalog.current_database(), 'CONNECT')
