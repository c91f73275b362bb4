-- Refresh: lock a segment, count and reconcile its members, and record the outcome.


-- name: try_lock_segment
-- Runs before a refresh. Takes the segment's lock until the end of the transaction, unless another
-- session holds it; never waits. Returns whether it was taken and, asked after that, whether
-- another session is changing the schema; see select_schema_change.
SELECT
    pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended(%(key)s, 0)) AS locked,
    NOT pg_catalog.pg_try_advisory_xact_lock_shared(pg_catalog.hashtextextended(%(schema_change)s, 0))
        AS changing


-- name: lock_segment_row
-- Runs before a refresh. Takes the lock of the segment's row until the end of the transaction,
-- unless another session holds it; never waits. Returns the row, and whether there is a list.
SELECT s.*, EXISTS (SELECT FROM {static} AS l WHERE l.segment_id = s.id) AS listed
FROM {segment} AS s
WHERE s.id = %(segment)s
FOR NO KEY UPDATE OF s SKIP LOCKED


-- name: count_members
-- Runs after a refresh. Takes AccessShare on the members.
SELECT count(*) FROM {view}


-- name: select_counters
-- Runs right before and right after a REFRESH CONCURRENTLY. Locks nothing. Returns how many rows
-- this transaction has inserted and deleted so far. The difference of two readings is exact, and
-- needs no scan.
SELECT
    pg_catalog.pg_stat_get_xact_tuples_inserted(%(view)s::regclass) AS inserted,
    pg_catalog.pg_stat_get_xact_tuples_deleted(%(view)s::regclass) AS deleted,
    pg_catalog.current_setting('track_counts')::boolean AS counted


-- name: populate_membership
-- Runs after the first refresh of a segment, in its transaction. Inserts its members, if it has no
-- memberships yet: two thirds of the time of reconcile_membership, which expects few of them. The
-- order fills the indexes from one end to the other.
INSERT INTO {membership} (user_id, segment_id, entered_at)
SELECT v.user_id, %(segment)s, pg_catalog.now()
FROM {view} AS v
WHERE v.user_id IN (SELECT {key} FROM {users})
    AND NOT EXISTS (SELECT FROM {membership} WHERE segment_id = %(segment)s)
ORDER BY v.user_id


-- name: reconcile_membership
-- Runs after a refresh, in its transaction. Takes row locks only on the rows that change. Its cost
-- follows the size of the segment, whatever the statistics say: a FULL JOIN is a merge or a hash
-- join, never a nested loop, and the rows that leave are deleted at the places (ctid) where the
-- join has seen them, so nothing is looked up for a row. Every other condition on the DELETE would
-- allow the planner to look up rows by that condition. A user who was deleted after the refresh
-- read the table of users has no membership any more, and gets none.
--
-- A place still has the same row when the DELETE comes to it. The snapshot of this statement sees
-- the row, so no vacuum may free its place before the statement ends. If another session has
-- deleted the row in the meantime, as for a user who is forgotten, the DELETE skips it.
--
-- What the statement has deleted and inserted is what it writes to the feed, if that is asked for:
-- no other rows, and none twice. The caller holds the segment's lock until the commit is visible,
-- and the ids of changes are taken here, so those of one segment are in the order of commits. So
-- are the times, which are those of this statement. The row of the history that the changes refer
-- to is begun here; record_refresh completes it.
WITH change AS MATERIALIZED (
    SELECT v.user_id AS entering, m.place AS leaving
    FROM {view} AS v
    FULL JOIN (SELECT user_id, ctid AS place FROM {membership} WHERE segment_id = %(segment)s) AS m
        ON m.user_id = v.user_id
    WHERE v.user_id IS NULL OR m.user_id IS NULL
),
deleted AS (
    DELETE FROM {membership}
    WHERE ctid = ANY (ARRAY(SELECT leaving FROM change WHERE leaving IS NOT NULL))
    RETURNING user_id
),
inserted AS (
    INSERT INTO {membership} (user_id, segment_id, entered_at)
    SELECT entering, %(segment)s, pg_catalog.now() FROM change
    WHERE entering IN (SELECT {key} FROM {users})
    RETURNING user_id
),
history AS (
    INSERT INTO {refresh} (segment_id, started_at, duration, status, error)
    SELECT %(segment)s, %(started_at)s, interval '0', 'refreshed', ''
    WHERE %(track)s AND (EXISTS (SELECT FROM inserted) OR EXISTS (SELECT FROM deleted))
    RETURNING id
),
written AS (
    INSERT INTO {change} (segment_id, user_id, entered, at, refresh_id)
    SELECT %(segment)s, moved.user_id, moved.entered, pg_catalog.statement_timestamp(), history.id
    FROM history
    CROSS JOIN (
        SELECT user_id, false AS entered FROM deleted
        UNION ALL
        SELECT user_id, true FROM inserted
    ) AS moved
    WHERE %(track)s
    RETURNING id
)
SELECT
    (SELECT count(*) FROM inserted) AS entered,
    (SELECT count(*) FROM deleted) AS left,
    (SELECT id FROM history) AS refresh,
    (SELECT min(id) FROM written) AS first,
    (SELECT max(id) FROM written) AS last


-- name: record_refresh
-- Runs at the end of a refresh, or after one that failed. Takes a row lock on the segment. Stores
-- the outcome, deletes history that is older than SEGMENTS_HISTORY_DAYS, and notifies listeners at
-- the commit. The session also reports its writes to the statistics then, which select_read_digest
-- reads.
--
-- A refresh that has written changes has begun its row of the history already. Changes older than
-- SEGMENTS_CHANGES_DAYS are deleted in batches, oldest first: 10,000 at most, or twice as many as
-- were written, so that deleting keeps up with writing. The segment keeps up to where they were
-- deleted, and since when the feed is complete: since the members before this refresh, or the
-- creation of the segment; never while it is off.
WITH pruned AS (
    DELETE FROM {change}
    WHERE id IN (
        SELECT batch.id
        FROM (
            SELECT c.id, c.at FROM {change} AS c
            WHERE c.segment_id = %(segment)s
                -- Without this, a segment with nothing to delete would look through a batch each time.
                AND (
                    SELECT oldest.at FROM {change} AS oldest
                    WHERE oldest.segment_id = %(segment)s ORDER BY oldest.id LIMIT 1
                ) < pg_catalog.statement_timestamp() - %(changes)s::interval
            ORDER BY c.id
            LIMIT greatest(10000, 2 * %(written)s)
        ) AS batch
        WHERE batch.at < pg_catalog.statement_timestamp() - %(changes)s::interval
    )
    RETURNING id, at
),
state AS (
    UPDATE {segment}
    SET
        status = CASE WHEN %(error)s = '' THEN 'refreshed' ELSE %(status)s END,
        last_error = %(error)s,
        failures = CASE WHEN %(error)s = '' THEN 0 ELSE failures + 1 END,
        attempted_at = coalesce(%(moment)s, pg_catalog.clock_timestamp()),
        refreshed_at = coalesce(%(refreshed_at)s, refreshed_at),
        members_count = coalesce(%(members_count)s, members_count),
        read_digest = coalesce(%(read_digest)s, read_digest),
        ids_from = %(ids_from)s,
        tracked_since = CASE
            WHEN NOT %(recomputed)s THEN tracked_since
            WHEN track_changes THEN coalesce(tracked_since, refreshed_at, created_at)
        END,
        changes_kept_after = greatest(changes_kept_after, CASE
            WHEN %(recomputed)s AND NOT track_changes AND tracked_since IS NOT NULL
                THEN (SELECT max(c.id) FROM {change} AS c WHERE c.segment_id = %(segment)s)
        END, (SELECT max(id) FROM pruned)),
        changes_kept_from = greatest(changes_kept_from, (SELECT max(at) FROM pruned))
    WHERE id = %(segment)s
    RETURNING {state}
),
expired AS (
    DELETE FROM {refresh}
    WHERE segment_id = %(segment)s AND started_at < %(started_at)s - %(history)s
),
completed AS (
    UPDATE {refresh}
    SET duration = %(duration)s, members_count = %(members_count)s, added = %(added)s, removed = %(removed)s
    WHERE id = %(refresh)s
),
history AS (
    INSERT INTO {refresh} (segment_id, started_at, duration, status, members_count, added, removed, error)
    SELECT
        %(segment)s, %(started_at)s, %(duration)s, %(status)s, %(members_count)s, %(added)s, %(removed)s, %(error)s
    WHERE %(refresh)s::bigint IS NULL
    RETURNING id
)
SELECT
    state.*,
    coalesce(%(refresh)s, (SELECT id FROM history)) AS refresh,
    pg_catalog.pg_notify(%(channel)s, %(payload)s),
    pg_catalog.pg_stat_force_next_flush(),
    CASE WHEN %(light)s THEN pg_catalog.set_config('synchronous_commit', 'off', true) END
FROM state


-- name: select_due
-- Runs for refresh_segments --due and --watch, and for the admin. Takes AccessShare on the
-- segments. Returns when each of them is due; NULL means never.
SELECT s.id, {due} AS due
FROM {segment} AS s
WHERE s.id = ANY(%(segments)s)
ORDER BY due


-- name: select_clock
-- Runs when a refresh is enqueued. Locks nothing. Returns the server's time.
SELECT pg_catalog.clock_timestamp()


-- name: select_overruns
-- Runs for list_segments. Locks nothing. Returns the statements that work on a segment for longer
-- than its timeout and one more second: the name of the session, its process id, and how long it
-- has run. Only pg_read_all_stats sees the sessions of other roles.
SELECT a.application_name, a.pid, pg_catalog.clock_timestamp() - a.query_start AS duration
FROM unnest(%(names)s::text[], %(timeouts)s::interval[]) AS segment (name, timeout)
JOIN pg_catalog.pg_stat_activity AS a ON a.application_name = segment.name
WHERE a.state = 'active' AND a.datname = pg_catalog.current_database()
    AND a.query_start < pg_catalog.clock_timestamp() - segment.timeout - interval '1 second'
ORDER BY a.query_start DESC
