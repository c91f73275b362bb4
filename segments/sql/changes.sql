-- Changes: who entered and who left, for those who follow them.


-- name: try_lock_consumer
-- Runs when a consumer begins to read. Takes an advisory lock of the consumer until the end of the
-- transaction, unless another session holds it; never waits. It needs no row, and ends with the
-- session, also behind a pool that gives each transaction another one.
SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended(%(key)s, 0))
