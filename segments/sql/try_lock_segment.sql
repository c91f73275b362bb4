-- Runs before a refresh; does not wait; held to the end of the transaction.
SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended(%(key)s, 0))
