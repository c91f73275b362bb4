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
