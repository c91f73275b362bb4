-- name: reads_of_segment
-- Part of what asks what a live view reads, directly and through other views, partitions included. OFFSET 0
-- keeps each look-up one by index, whatever the size of the catalog.
relation (oid, kind) AS (
    SELECT c.oid, c.relkind FROM pg_catalog.pg_class AS c WHERE c.oid = {live}::regclass
    UNION
    SELECT reads.oid, c.relkind
    FROM relation
    CROSS JOIN LATERAL (
        SELECT d.refobjid AS oid
        FROM pg_catalog.pg_rewrite AS w
        JOIN pg_catalog.pg_depend AS d
            ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
            AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> w.ev_class
        WHERE w.ev_class = relation.oid AND relation.kind = 'v'
        UNION ALL
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i
        WHERE i.inhparent = relation.oid AND relation.kind IN ('r', 'p')
    ) AS reads
    CROSS JOIN LATERAL (SELECT relkind FROM pg_catalog.pg_class WHERE oid = reads.oid OFFSET 0) AS c
),
rule AS (
    SELECT w.oid, w.xmin, w.ctid, w.ev_action::text AS tree
    FROM relation
    CROSS JOIN LATERAL (
        SELECT * FROM (SELECT oid, xmin, ctid, ev_action FROM pg_catalog.pg_rewrite WHERE ev_class = relation.oid) AS r OFFSET 0
    ) AS w
    WHERE relation.kind = 'v'
)


-- name: calls_of_segment
-- Part of what asks which functions a live view calls, itself or through the other views that it reads. Those
-- that do the work of an aggregate go by its name.
called AS (
    SELECT DISTINCT found[1]::oid AS oid
    FROM rule
    CROSS JOIN pg_catalog.regexp_matches(
        tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid|hashfuncid|negfuncid|startInRangeFunc|endInRangeFunc) (\d+)', 'g'
    ) AS found
),
function (oid, name) AS (
    SELECT oid, oid FROM called
    UNION ALL
    SELECT step, called.oid
    FROM called
    JOIN pg_catalog.pg_aggregate AS a ON a.aggfnoid = called.oid
    CROSS JOIN unnest(ARRAY[a.aggtransfn::oid, a.aggfinalfn::oid]) AS step
)


-- name: report_writes
-- Runs before a refresh starts on another connection; locks nothing. At the end of this statement the session
-- reports to the statistics what it has written until the moment that this returns.
SELECT pg_catalog.pg_backend_pid() AS pid, pg_catalog.clock_timestamp() AS reported_at, pg_catalog.pg_stat_force_next_flush()


-- name: clear_statistics
-- Runs before select_read_digest.sql; locks nothing. Lets this transaction see the statistics of now, and not
-- those that it has looked at before.
SELECT pg_catalog.pg_stat_clear_snapshot()


-- name: select_hidden
-- Runs right before a REFRESH; locks nothing. Whether a live view may change its rows without a trace
-- that select_read_digest.sql would show: through time, randomness, settings or functions, of which all but
-- the immutable ones of Postgres itself count (what others read is hidden in their bodies); or because it
-- reads what is not counted: foreign tables, the catalog, rows by a policy, columns computed on each
-- read, and anything on a Citus cluster, whose coordinator counts no rows.
WITH RECURSIVE {reads},
{calls}
SELECT
    NOT pg_catalog.current_setting('track_counts')::boolean
    OR to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL
    OR EXISTS (
        SELECT FROM pg_catalog.pg_db_role_setting AS s CROSS JOIN unnest(s.setconfig) AS setting
        WHERE setting LIKE 'track_counts=%%'
    )
    OR EXISTS (
        SELECT FROM function
        CROSS JOIN LATERAL (
            SELECT oid, provolatile, proargtypes FROM pg_catalog.pg_proc WHERE oid = function.oid OFFSET 0
        ) AS p
        WHERE p.provolatile <> 'i' OR p.oid >= 16384 OR p.proargtypes::oid[] && ARRAY[3734, 3769]::oid[]
    )
    OR EXISTS (
        SELECT FROM rule
        WHERE tree ~ '\{{(SQLVALUEFUNCTION|NEXTVALUEEXPR|TABLESAMPLECLAUSE|TABLEFUNC|ROWCOMPAREEXPR|XMLEXPR|JSON[A-Z]*EXPR) '
            OR tree ~ ':varattno -'
            -- What is pinned, as the catalog is, has no rows in pg_depend.
            OR EXISTS (
                SELECT FROM pg_catalog.regexp_matches(tree, ':relid (\d+)', 'g') AS r WHERE r[1]::bigint BETWEEN 1 AND 16383
            )
    )
    OR EXISTS (
        -- Values become text and back by the functions of their types, and of nested expressions the type is unknown.
        SELECT FROM rule
        CROSS JOIN pg_catalog.regexp_matches(
            tree,
            '\{{COERCEVIAIO :arg (?:\{{(?:VAR :varno \S+ :varattno \d+ :vartype|CONST :consttype'
                || '|OPEXPR :opno \d+ :opfuncid \d+ :opresulttype|FUNCEXPR :funcid \d+ :funcresulttype) (\d+))?',
            'g'
        ) AS argument
        LEFT JOIN pg_catalog.pg_type AS t ON t.oid = argument[1]::oid
        LEFT JOIN pg_catalog.pg_proc AS p ON p.oid = t.typoutput
        WHERE p.provolatile IS DISTINCT FROM 'i' OR p.oid >= 16384
    )
    OR EXISTS (
        -- What this transaction has made or truncated, it may truncate again in place.
        SELECT FROM pg_catalog.pg_locks AS l
        WHERE l.pid = pg_catalog.pg_backend_pid() AND l.mode = 'AccessExclusiveLock'
            AND l.relation IN (SELECT oid FROM relation WHERE kind IN ('r', 'p'))
    )
    OR EXISTS (
        SELECT FROM rule
        CROSS JOIN pg_catalog.regexp_matches(tree, ':resulttype (\d+)', 'g') AS result
        JOIN pg_catalog.pg_type AS t ON t.oid = result[1]::oid
        JOIN pg_catalog.pg_proc AS p ON p.oid = t.typinput
        WHERE tree LIKE '%%{{COERCEVIAIO %%' AND p.provolatile <> 'i'
    )
    OR EXISTS (
        SELECT FROM relation
        CROSS JOIN LATERAL (
            SELECT relrowsecurity OR relam NOT IN (0, 2) OR EXISTS (
                SELECT FROM pg_catalog.pg_attribute WHERE attrelid = relation.oid AND attgenerated = 'v'
            ) AS computed
            FROM pg_catalog.pg_class WHERE oid = relation.oid OFFSET 0
        ) AS c
        WHERE relation.kind NOT IN ('v', 'm', 'r', 'p') OR relation.oid < 16384 OR c.computed
    )


-- name: select_read_digest
-- Runs right before a REFRESH; locks nothing. What a segment reads, at a moment of the server's clock.
SELECT
    pg_catalog.clock_timestamp() AS moment,
    {read_digest}(%(live)s::regclass, %(members)s::regclass, %(users)s::regclass, %(key)s) AS digest


-- name: select_unchanged
-- Runs before a refresh; locks nothing. Until when nothing was written that a segment reads, if known.
SELECT {unchanged_until}(
    %(live)s::regclass, %(members)s::regclass, %(users)s::regclass, %(key)s,
    %(digest)s, %(since)s, %(lag)s, %(own_pids)s::integer[]
)


-- name: replace_read_digest_function
-- Runs at sync and when the schema is created; locks nothing. What a live view reads, with the number of
-- rows that were ever inserted, updated and deleted there, in one digest; asked right before a REFRESH,
-- and later to see whether another one is needed. TRUNCATE and rewrites show as another relfilenode, a
-- crash and a reset of the statistics as another stats_reset, a replaced view and an altered table as
-- another version of its row in the catalog; members that others have made anew are another relation.
-- What this session has yet to report counts along. Of users of whom the key alone is read, an update
-- within a page (HOT) changes nothing: it changes no indexed column (but where transactions may be
-- prepared, it counts before the update does). A function, so that a session plans this once.
CREATE OR REPLACE FUNCTION {function} (
    live_view regclass, members_view regclass, users_table regclass, key_column name
) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = '' AS $body$
BEGIN
    RETURN (
        WITH RECURSIVE {reads},
        by_key AS (
            SELECT pg_catalog.current_setting('max_prepared_transactions') = '0'
                AND NOT EXISTS (SELECT FROM rule WHERE tree LIKE '%:varattno 0 %') AND NOT EXISTS (
                SELECT FROM rule
                CROSS JOIN LATERAL (
                    SELECT refobjsubid FROM pg_catalog.pg_depend
                    WHERE classid = 'pg_catalog.pg_rewrite'::regclass AND objid = rule.oid
                        AND refclassid = 'pg_catalog.pg_class'::regclass AND refobjid = users_table
                    OFFSET 0
                ) AS d
                WHERE d.refobjsubid <> 0 AND d.refobjsubid <> (
                    SELECT attnum FROM pg_catalog.pg_attribute WHERE attrelid = users_table AND attname = key_column
                )
            ) AS alone
        ),
        part (kind, oid, words) AS (
            SELECT 'members', members_view::oid, ''
            UNION ALL
            SELECT 'rule', oid, pg_catalog.concat_ws(' ', xmin, ctid) FROM rule
            UNION ALL
            SELECT 'child', i.inhrelid, pg_catalog.concat_ws(' ', i.inhparent, i.xmin, i.ctid)
            FROM relation JOIN pg_catalog.pg_inherits AS i ON i.inhparent = relation.oid
            WHERE relation.kind IN ('r', 'p')
            UNION ALL
            SELECT relation.kind::text, relation.oid, pg_catalog.concat_ws(
                ' ',
                pg_catalog.pg_relation_filenode(relation.oid),
                CASE WHEN relation.kind <> 'm' THEN (
                    SELECT pg_catalog.concat_ws(' ', xmin, ctid) FROM pg_catalog.pg_class WHERE oid = relation.oid
                ) END,
                pg_catalog.pg_stat_get_tuples_inserted(relation.oid)
                    + pg_catalog.pg_stat_get_xact_tuples_inserted(relation.oid),
                pg_catalog.pg_stat_get_tuples_deleted(relation.oid)
                    + pg_catalog.pg_stat_get_xact_tuples_deleted(relation.oid),
                pg_catalog.pg_stat_get_tuples_updated(relation.oid)
                    + pg_catalog.pg_stat_get_xact_tuples_updated(relation.oid)
                    - CASE
                        WHEN relation.oid = users_table AND by_key.alone
                            THEN pg_catalog.pg_stat_get_tuples_hot_updated(relation.oid)
                                + pg_catalog.pg_stat_get_xact_tuples_hot_updated(relation.oid)
                        ELSE 0
                    END
            )
            FROM relation
            CROSS JOIN by_key
            WHERE relation.kind <> 'v'
            UNION ALL
            SELECT 'server', d.oid, pg_catalog.concat_ws(
                ' ',
                extract(epoch FROM pg_catalog.pg_postmaster_start_time()),
                extract(epoch FROM pg_catalog.pg_conf_load_time()),
                extract(epoch FROM pg_catalog.pg_stat_get_db_stat_reset_time(d.oid)),
                extract(epoch FROM w.stats_reset),
                pg_catalog.current_setting('track_counts'),
                pg_catalog.to_regclass('pg_catalog.pg_dist_partition')::oid,
                (SELECT pg_catalog.string_agg(s::text, ' ' ORDER BY s::text) FROM pg_catalog.pg_db_role_setting AS s)
            )
            FROM pg_catalog.pg_database AS d
            CROSS JOIN pg_catalog.pg_stat_wal AS w
            WHERE d.datname = pg_catalog.current_database()
        )
        SELECT left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
            pg_catalog.string_agg(kind || ' ' || oid || ' ' || words, ',' ORDER BY kind, oid, words), 'UTF8'
        )), 'hex'), 32)
        FROM part
    );
END
$body$


-- name: replace_unchanged_until_function
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
    last_digest text, since timestamptz, lag interval, own_pids integer[]
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
            AND a.pid <> ALL (own_pids)
            AND a.usesysid IS NOT NULL
            AND a.backend_type IS DISTINCT FROM 'parallel worker'
    ) AS session
    WHERE NOT coalesce(before OR rested, false);
    IF asked >= since AND told >= asked - lag
        AND {read_digest}(live_view, members_view, users_table, key_column) = last_digest
    THEN
        RETURN told;
    END IF;
    RETURN NULL;
END
$body$
