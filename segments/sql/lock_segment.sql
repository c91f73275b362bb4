-- Runs before a segment, or what all segments share, is changed; waits up to lock_timeout; held to the
-- end of the transaction. Every writer of a segment's views takes its lock first.
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%(key)s, 0))
