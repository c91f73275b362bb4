-- Overview: how segments are doing, for the admin.


-- name: select_situations
-- Runs for the admin's list and pages. Takes AccessShare on the segments and their history. Returns
-- of each segment the time by the server's clock, when it is due, whether another session has its
-- lock and for how long its transaction has been running, and the members after its last 30
-- refreshes that counted them, the latest first. Only pg_read_all_stats sees how long sessions of
-- other roles have been running.
SELECT
    s.id,
    pg_catalog.clock_timestamp() AS now,
    CASE WHEN s.is_active THEN {due} END AS due,
    work.pid IS NOT NULL AS running,
    pg_catalog.clock_timestamp() - a.xact_start AS running_for,
    ARRAY(
        SELECT r.members_count
        FROM {refresh} AS r
        WHERE r.segment_id = s.id AND r.members_count IS NOT NULL
        ORDER BY r.started_at DESC
        LIMIT 30
    ) AS counts
FROM {segment} AS s
LEFT JOIN (
    -- part: working_session
) AS work ON work.segment = s.id
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = work.pid
WHERE s.id = ANY(%(segments)s)


-- name: working_session
-- Part of the statements that ask which segments are being refreshed or changed: those whose lock
-- another session holds.
SELECT asked.segment, min(l.pid) AS pid
FROM unnest(%(segments)s::bigint[], %(keys)s::text[]) AS asked (segment, key)
JOIN pg_catalog.pg_locks AS l
    ON l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
    AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
    AND (l.classid::bigint << 32) | l.objid::bigint = pg_catalog.hashtextextended(asked.key, 0)
    AND l.pid <> pg_catalog.pg_backend_pid()
GROUP BY asked.segment


-- name: select_working
-- Runs when the admin's list is filtered. Locks nothing. Returns which of the segments are being
-- refreshed or changed.
SELECT work.segment FROM (
    -- part: working_session
) AS work
