-- Runs right before and right after a REFRESH CONCURRENTLY; locks nothing. The rows this transaction
-- has inserted and deleted so far: the difference of two readings is exact, without any scan.
SELECT
    pg_catalog.pg_stat_get_xact_tuples_inserted(%(view)s::regclass) AS inserted,
    pg_catalog.pg_stat_get_xact_tuples_deleted(%(view)s::regclass) AS deleted,
    pg_catalog.current_setting('track_counts')::boolean AS counted
