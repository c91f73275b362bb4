-- Runs before a segment is changed or deleted; waits up to lock_timeout; held to the end of the
-- transaction. Every writer of a segment's views takes this lock first.
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%(key)s, 0))
