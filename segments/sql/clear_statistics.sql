-- Runs before select_trace.sql; locks nothing. Lets this transaction see the statistics of now, and not
-- those that it has looked at before.
SELECT pg_catalog.pg_stat_clear_snapshot()
