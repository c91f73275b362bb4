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
        trace = coalesce(%(trace)s, trace)
    WHERE id = %(segment)s
    RETURNING {state}
),
forgotten AS (
    DELETE FROM {refresh}
    WHERE segment_id = %(segment)s AND started_at < %(started_at)s - %(kept)s
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
