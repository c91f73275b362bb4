-- Runs for segments_grants; locks nothing.
SELECT pg_catalog.current_database()
