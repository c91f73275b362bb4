-- Runs when a segment's lock has been taken; does not wait and keeps nothing. Whether another session
-- changes the schema: a lock that can be had is given back in the same statement.
SELECT CASE
    WHEN pg_catalog.pg_try_advisory_lock_shared(pg_catalog.hashtextextended(%(key)s, 0))
        THEN NOT pg_catalog.pg_advisory_unlock_shared(pg_catalog.hashtextextended(%(key)s, 0))
    ELSE true
END
