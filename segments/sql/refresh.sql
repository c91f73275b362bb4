-- name: try_lock_segment
-- Runs before a refresh; does not wait; held to the end of the transaction. Whether it was had, and whether
-- another session changes the schema, asked after it: a lock that can be had is given back at once.
SELECT
    pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended(%(key)s, 0)) AS locked,
    CASE
        WHEN pg_catalog.pg_try_advisory_lock_shared(pg_catalog.hashtextextended(%(schema_change)s, 0))
            THEN NOT pg_catalog.pg_advisory_unlock_shared(pg_catalog.hashtextextended(%(schema_change)s, 0))
        ELSE true
    END AS changing


-- name: count_members
-- Runs after a refresh; AccessShare on the members.
SELECT count(*) FROM {view}


-- name: select_counters
-- Runs right before and right after a REFRESH CONCURRENTLY; locks nothing. The rows this transaction
-- has inserted and deleted so far: the difference of two readings is exact, without any scan.
SELECT
    pg_catalog.pg_stat_get_xact_tuples_inserted(%(view)s::regclass) AS inserted,
    pg_catalog.pg_stat_get_xact_tuples_deleted(%(view)s::regclass) AS deleted,
    pg_catalog.current_setting('track_counts')::boolean AS counted


-- name: reconcile_membership
-- Runs in the transaction of a refresh, after it; row locks on what changes alone. Both sides come
-- sorted out of an index, so this is one merge join, whatever the size of the whole table is. Who
-- was deleted since the refresh has looked at the users has no membership any more, and gets none. Who
-- has left is found by index and deleted by place, whatever the planner knows of a new segment.
WITH change AS MATERIALIZED (
    SELECT v.user_id AS entered, m.user_id AS gone
    FROM {view} AS v
    FULL JOIN (SELECT user_id FROM {membership} WHERE segment_id = %(segment)s) AS m
        ON m.user_id = v.user_id
    WHERE v.user_id IS NULL OR m.user_id IS NULL
),
deleted AS (
    DELETE FROM {membership}
    WHERE ctid = ANY (ARRAY(
        SELECT m.ctid
        FROM change
        CROSS JOIN LATERAL (
            SELECT ctid FROM {membership} WHERE segment_id = %(segment)s AND user_id = change.gone OFFSET 0
        ) AS m
    ))
    RETURNING 1
),
inserted AS (
    INSERT INTO {membership} (user_id, segment_id, entered_at)
    SELECT entered, %(segment)s, pg_catalog.now() FROM change
    WHERE entered IN (SELECT {key} FROM {users})
    RETURNING 1
)
SELECT (SELECT count(*) FROM inserted) AS entered, (SELECT count(*) FROM deleted) AS gone


-- name: record_refresh
-- Runs at the end of a refresh, or after one that failed; row lock on the segment. Stores what came of
-- it, forgets history that is older than it is kept, and tells who listens, at the commit; with that,
-- the statistics have what was written, for select_trace.sql.
WITH state AS (
    UPDATE {segment}
    SET
        status = CASE WHEN %(error)s = '' THEN 'refreshed' ELSE %(status)s END,
        last_error = %(error)s,
        failures = CASE WHEN %(error)s = '' THEN 0 ELSE failures + 1 END,
        attempted_at = coalesce(%(moment)s, pg_catalog.clock_timestamp()),
        refreshed_at = coalesce(%(refreshed_at)s, refreshed_at),
        members_count = coalesce(%(members_count)s, members_count),
        read_digest = coalesce(%(read_digest)s, read_digest)
    WHERE id = %(segment)s
    RETURNING {state}
),
forgotten AS (
    DELETE FROM {refresh}
    WHERE segment_id = %(segment)s AND started_at < %(started_at)s - %(history)s
),
history AS (
    INSERT INTO {refresh} (segment_id, started_at, duration, status, members_count, added, removed, error)
    VALUES (
        %(segment)s, %(started_at)s, %(duration)s, %(status)s, %(members_count)s, %(added)s, %(removed)s, %(error)s
    )
)
SELECT
    state.*,
    pg_catalog.pg_notify(%(channel)s, %(payload)s),
    pg_catalog.pg_stat_force_next_flush(),
    CASE WHEN %(light)s THEN pg_catalog.set_config('synchronous_commit', 'off', true) END
FROM state


-- name: select_due
-- Runs for refresh_segments --due and --watch; AccessShare on the segments. When each is due, if ever.
SELECT s.id, {due} AS due
FROM {segment} AS s
WHERE s.id = ANY(%(segments)s)
ORDER BY due


-- name: select_clock
-- Runs when a refresh is enqueued, or its schedule is asked for; locks nothing. The server's time.
SELECT pg_catalog.clock_timestamp()
