-- Runs before statistics are read; locks nothing. Lets this transaction see those of now, and not what
-- it has looked at before.
SELECT pg_catalog.pg_stat_clear_snapshot()
