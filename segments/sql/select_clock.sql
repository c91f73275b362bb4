-- Runs when a refresh is enqueued, or its schedule is asked for; locks nothing. The server's time.
SELECT pg_catalog.clock_timestamp()
