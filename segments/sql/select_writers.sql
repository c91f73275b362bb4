-- Runs before select_trace.sql, to know what that can tell; locks nothing. Sessions report their writes
-- a while after the commit: at once, if they have not done so within a second; else after ten seconds
-- of idleness; else, when they never rest, after a minute. So what others may have written since the
-- last refresh without having told is what was committed later than `told`: NULL if that cannot be
-- known, as for sessions that only pg_read_all_stats may look at, and now if nobody has. Peers
-- report with each commit (pg_stat_force_next_flush).
SELECT
    pg_catalog.statement_timestamp() AS now,
    CASE
        WHEN count(*) = 0 THEN pg_catalog.statement_timestamp()
        WHEN bool_and(moment IS NOT NULL) THEN min(moment) - interval '75 seconds'
    END AS told
FROM (
    SELECT
        CASE a.state
            WHEN 'idle' THEN a.state_change
            ELSE a.xact_start
        END AS moment,
        a.state = 'idle' AND a.state_change < pg_catalog.clock_timestamp() - interval '15 seconds' AS rested
    FROM pg_catalog.pg_stat_activity AS a
    JOIN pg_catalog.pg_database AS d ON d.oid = a.datid
    WHERE d.datname = pg_catalog.current_database()
        AND a.pid <> pg_catalog.pg_backend_pid()
        AND a.pid <> ALL(%(peers)s::integer[])
        AND a.backend_type NOT IN ('autovacuum worker', 'parallel worker', 'walsender')
) AS session
WHERE NOT coalesce(moment <= %(since)s OR rested, false)
