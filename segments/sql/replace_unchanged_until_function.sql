-- Runs at sync and when the schema is created; locks nothing. Until when nothing was written that a
-- segment reads; NULL where that is not known. Sessions report their writes a while after the commit: at
-- once, if they have not done so within a second; else after ten seconds of idleness; else, when they
-- never rest, after a minute. So what others may have written since the last refresh without having told
-- was committed later than `told`, which cannot be known of sessions that only pg_read_all_stats may look
-- at. Peers report with each commit (pg_stat_force_next_flush). The sessions are looked at before the
-- counters, so that who reports in between is taken for one who has not. Who chains transactions without
-- a pause (AND CHAIN) tells nothing as long as that lasts, which a lag of more than a minute overlooks.
CREATE OR REPLACE FUNCTION {function} (
    live_view regclass, members_view regclass, users_table regclass, key_column name,
    last_digest text, since timestamptz, lag interval, peers integer[]
) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SET search_path = '' AS $body$
DECLARE
    asked timestamptz := pg_catalog.clock_timestamp();
    told timestamptz;
BEGIN
    PERFORM pg_catalog.pg_stat_clear_snapshot();
    SELECT
        CASE
            WHEN count(*) = 0 THEN asked
            WHEN bool_and(moment IS NOT NULL) THEN min(moment) - interval '75 seconds'
        END
    INTO told
    FROM (
        SELECT
            CASE
                WHEN a.state = 'idle' THEN a.state_change
                WHEN a.backend_type = 'walsender' AND a.query LIKE 'START_REPLICATION%' THEN a.query_start
                WHEN a.xact_start IS NOT NULL THEN least(a.xact_start, a.query_start)
            END AS moment,
            -- A message may have several transactions, the later of which start, to themselves, with it.
            CASE
                WHEN a.state LIKE 'idle%' THEN a.state_change <= since
                WHEN a.backend_type = 'walsender' AND a.query LIKE 'START_REPLICATION%' THEN a.query_start <= since
                ELSE a.xact_start < a.query_start AND a.query_start <= since
            END AS before,
            a.state = 'idle' AND a.backend_type IN ('client backend', 'walsender')
                AND a.state_change < asked - interval '15 seconds' AS rested
        FROM pg_catalog.pg_stat_get_activity(NULL) AS a
        WHERE a.datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
            AND a.pid <> pg_catalog.pg_backend_pid()
            AND a.pid <> ALL (peers)
            AND a.usesysid IS NOT NULL
            AND a.backend_type IS DISTINCT FROM 'parallel worker'
    ) AS session
    WHERE NOT coalesce(before OR rested, false);
    IF asked >= since AND told >= asked - lag
        AND {trace}(live_view, members_view, users_table, key_column) = last_digest
    THEN
        RETURN told;
    END IF;
    RETURN NULL;
END
$body$
