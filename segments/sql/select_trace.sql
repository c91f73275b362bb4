-- Runs right before a REFRESH, and later to see whether another one is due; locks nothing. What a live
-- view reads, directly and through other views, with the number of rows that were ever inserted,
-- updated and deleted there, in one digest. TRUNCATE and rewrites show as another relfilenode, a crash
-- and a reset of the statistics as another stats_reset, a replaced view and an altered table as another
-- version of its row in the catalog. What this session has yet to report counts along. Of users of
-- whom the key alone is read, an update within a page (HOT) changes nothing: it changes no indexed
-- column. The digest is empty where rows may change without such a trace: through time, randomness,
-- settings or functions, of which all but the immutable ones of Postgres itself count (what others read
-- is hidden in their bodies); or where something is read that is not counted: foreign tables, the
-- catalog, rows by a policy, and anything on a Citus cluster, whose coordinator counts no rows.
WITH RECURSIVE relation (oid) AS (
    SELECT %(live)s::regclass::oid
    UNION
    SELECT reads.oid
    FROM relation
    JOIN pg_catalog.pg_class AS c ON c.oid = relation.oid
    CROSS JOIN LATERAL (
        SELECT d.refobjid AS oid
        FROM pg_catalog.pg_rewrite AS w
        JOIN pg_catalog.pg_depend AS d
            ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
            AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> w.ev_class
        WHERE w.ev_class = c.oid AND c.relkind = 'v'
        UNION ALL
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid AND c.relkind IN ('r', 'p')
    ) AS reads
),
rule AS (
    SELECT w.oid, w.xmin, w.ev_action
    FROM relation
    JOIN pg_catalog.pg_class AS c ON c.oid = relation.oid AND c.relkind = 'v'
    JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = c.oid
),
by_key AS (
    SELECT NOT EXISTS (SELECT FROM rule WHERE ev_action::text LIKE '%%:varattno 0 %%') AND NOT EXISTS (
        SELECT FROM rule
        JOIN pg_catalog.pg_depend AS d
            ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = rule.oid
            AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = %(users)s::regclass
        LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.refobjsubid <> 0 AND a.attname <> %(key)s
    ) AS alone
),
called AS (
    SELECT DISTINCT found[1]::oid AS oid
    FROM rule
    CROSS JOIN pg_catalog.regexp_matches(
        ev_action::text, ':(?:funcid|opfuncid|aggfnoid|winfnoid|hashfuncid|negfuncid) (\d+)', 'g'
    ) AS found
),
function (oid) AS (
    SELECT oid FROM called
    UNION ALL
    SELECT step
    FROM called
    JOIN pg_catalog.pg_aggregate AS a ON a.aggfnoid = called.oid
    CROSS JOIN unnest(ARRAY[a.aggtransfn::oid, a.aggfinalfn::oid]) AS step
),
hidden AS (
    SELECT 1 WHERE NOT pg_catalog.current_setting('track_counts')::boolean
        OR to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL
    UNION ALL
    SELECT 1 FROM pg_catalog.pg_db_role_setting AS s CROSS JOIN unnest(s.setconfig) AS setting
    WHERE setting LIKE 'track_counts=%%'
    UNION ALL
    SELECT 1 FROM function JOIN pg_catalog.pg_proc AS p ON p.oid = function.oid
    WHERE p.provolatile <> 'i' OR p.oid >= 16384
    UNION ALL
    SELECT 1 FROM rule
    WHERE ev_action::text
        ~ '\{(SQLVALUEFUNCTION|NEXTVALUEEXPR|TABLESAMPLECLAUSE|XMLEXPR|JSON[A-Z]*EXPR) |:varattno -'
    UNION ALL
    SELECT 1
    FROM rule
    CROSS JOIN pg_catalog.regexp_matches(ev_action::text, ':resulttype (\d+)', 'g') AS result
    JOIN pg_catalog.pg_type AS t ON t.oid = result[1]::oid
    JOIN pg_catalog.pg_proc AS p ON p.oid = t.typinput
    WHERE ev_action::text LIKE '%%{COERCEVIAIO %%' AND p.provolatile <> 'i'
    UNION ALL
    SELECT 1
    FROM relation
    JOIN pg_catalog.pg_class AS c ON c.oid = relation.oid
    WHERE c.relkind NOT IN ('v', 'm', 'r', 'p') OR c.oid < 16384 OR c.relrowsecurity
    UNION ALL
    SELECT 1
    FROM relation JOIN pg_catalog.pg_attribute AS a ON a.attrelid = relation.oid AND a.attgenerated = 'v'
),
part (kind, oid, words) AS (
    SELECT 'rule', oid, xmin::text FROM rule
    UNION ALL
    SELECT c.relkind::text, c.oid, pg_catalog.concat_ws(
        ' ',
        pg_catalog.pg_relation_filenode(c.oid),
        CASE WHEN c.relkind <> 'm' THEN c.xmin END,
        pg_catalog.pg_stat_get_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid),
        pg_catalog.pg_stat_get_tuples_deleted(c.oid) + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid),
        pg_catalog.pg_stat_get_tuples_updated(c.oid) + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)
            - CASE
                WHEN c.oid = %(users)s::regclass AND by_key.alone
                    THEN pg_catalog.pg_stat_get_tuples_hot_updated(c.oid)
                        + pg_catalog.pg_stat_get_xact_tuples_hot_updated(c.oid)
                ELSE 0
            END
    )
    FROM relation
    JOIN pg_catalog.pg_class AS c ON c.oid = relation.oid AND c.relkind <> 'v'
    CROSS JOIN by_key
    UNION ALL
    SELECT 'server', d.oid, pg_catalog.concat_ws(
        ' ',
        pg_catalog.pg_postmaster_start_time(),
        pg_catalog.pg_conf_load_time(),
        pg_catalog.pg_stat_get_db_stat_reset_time(d.oid),
        w.stats_reset
    )
    FROM pg_catalog.pg_database AS d
    CROSS JOIN pg_catalog.pg_stat_wal AS w
    WHERE d.datname = pg_catalog.current_database()
)
SELECT
    pg_catalog.clock_timestamp() AS moment,
    CASE WHEN EXISTS (SELECT FROM hidden) THEN ''
        ELSE left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
            pg_catalog.string_agg(kind || ' ' || oid || ' ' || words, ',' ORDER BY kind, oid), 'UTF8'
        )), 'hex'), 32)
    END AS digest
FROM part
