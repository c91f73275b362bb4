-- Runs before a refresh; does not wait; held to the end of the transaction. Whether it was had, and whether
-- another session changes the schema, asked after it: a lock that can be had is given back at once.
SELECT
    pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended(%(key)s, 0)) AS locked,
    CASE
        WHEN pg_catalog.pg_try_advisory_lock_shared(pg_catalog.hashtextextended(%(schema_change)s, 0))
            THEN NOT pg_catalog.pg_advisory_unlock_shared(pg_catalog.hashtextextended(%(schema_change)s, 0))
        ELSE true
    END AS changing
