-- Runs at migrate; locks nothing. Which database this is; the same by whatever way one has come to it.
SELECT pg_catalog.concat_ws(' ', pg_catalog.pg_postmaster_start_time(), d.oid, d.datname)
FROM pg_catalog.pg_database AS d
WHERE d.datname = pg_catalog.current_database()
