-- Unchanged: whether anything that a segment reads was written since its last refresh.


-- name: reads_of_segment
-- Part of the statements that ask what a live view reads, directly and through other views,
-- partitions included. OFFSET 0 makes each lookup use an index, whatever the size of the catalog
-- is.
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
-- Part of the statements that ask which functions a live view calls, directly or through the other
-- views that it reads. The functions that do the work of an aggregate go by the aggregate's name.
direct_call AS (
    SELECT DISTINCT capture[1]::oid AS oid
    FROM rule
    CROSS JOIN pg_catalog.regexp_matches(
        tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid|hashfuncid|negfuncid|startInRangeFunc|endInRangeFunc) (\d+)', 'g'
    ) AS capture
),
function (oid, name) AS (
    SELECT oid, oid FROM direct_call
    UNION ALL
    SELECT step, direct_call.oid
    FROM direct_call
    JOIN pg_catalog.pg_aggregate AS a ON a.aggfnoid = direct_call.oid
    CROSS JOIN unnest(ARRAY[a.aggtransfn::oid, a.aggfinalfn::oid]) AS step
)


-- name: report_writes
-- Runs when a thread of a pool connects, and before refreshes start on other connections. Locks
-- nothing. At the end of this statement, the session reports to the statistics what it has written.
-- As long as it is idle and this is its last statement, it has written nothing since.
SELECT pg_catalog.pg_backend_pid() AS pid, pg_catalog.pg_stat_force_next_flush() AS reported


-- name: clear_statistics
-- Runs before select_read_digest. Locks nothing. Lets this transaction see the current statistics
-- instead of those that it has looked at before.
SELECT pg_catalog.pg_stat_clear_snapshot()


-- name: select_hidden
-- Runs right before a REFRESH. Locks nothing. Returns whether the rows of a live view may change
-- while select_read_digest returns the same. They may if the view depends on time, randomness,
-- settings, or any functions except the immutable ones of Postgres itself, since the bodies of
-- others hide what they read. They may also if it reads what is not counted: foreign tables, the
-- catalog, rows behind a policy, columns that are computed on each read, and anything on a Citus
-- cluster, whose coordinator counts no rows.
WITH RECURSIVE {reads},
{calls}
SELECT
    NOT pg_catalog.current_setting('track_counts')::boolean
    OR to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL
    OR EXISTS (
        SELECT FROM pg_catalog.pg_db_role_setting AS s CROSS JOIN unnest(s.setconfig) AS setting
        WHERE setting LIKE 'track_counts=%%'
    )
    -- Objects of the project may take the names of those of Postgres.
    OR (
        SELECT schema <> 'pg_catalog'
        FROM unnest(pg_catalog.current_schemas(true)) WITH ORDINALITY AS path (schema, place)
        WHERE schema !~ '^pg_temp_'
        ORDER BY place
        LIMIT 1
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
            -- The catalog is pinned, and pg_depend has no rows for pinned objects.
            OR EXISTS (
                SELECT FROM pg_catalog.regexp_matches(tree, ':relid (\d+)', 'g') AS r WHERE r[1]::bigint BETWEEN 1 AND 16383
            )
    )
    OR EXISTS (
        -- Casts to and from text call the functions of a value's type. The type of a nested expression is unknown.
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
        -- A table that this transaction has created or truncated, it may truncate again in place.
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
-- Runs right before a REFRESH. Locks nothing. Returns a digest of what a segment reads, and the
-- moment of the server's clock just before it, also in seconds, which no time zone changes.
SELECT
    pg_catalog.clock_timestamp() AS moment,
    extract(epoch FROM pg_catalog.clock_timestamp())::float8 AS seconds,
    {read_digest}(%(live)s::regclass, %(members)s::regclass, %(users)s::regclass, %(key)s) AS digest


-- name: select_unchanged
-- Runs before a refresh. Locks nothing. Returns the current moment, also in seconds, and the moment
-- until which nothing that a segment reads was written; NULL if that is unknown. The session that asks for the
-- refresh counts as one of our own if its last statement was report_writes. That holds even if a
-- pooler has given it to another client in the meantime.
SELECT
    pg_catalog.clock_timestamp() AS moment,
    extract(epoch FROM pg_catalog.clock_timestamp())::float8 AS seconds,
    {unchanged_until}(
        %(live)s::regclass, %(members)s::regclass, %(users)s::regclass, %(key)s,
        %(digest)s, %(since)s, %(lag)s,
        %(own_pids)s::integer[] || ARRAY(
            SELECT pid FROM pg_catalog.pg_stat_get_activity(%(caller)s)
            WHERE pid = %(caller)s AND state = 'idle' AND query LIKE '%%pg_stat_force_next_flush() AS reported%%'
        )
    )


-- name: replace_read_digest_function
-- Runs at sync and when the schema is created. Locks nothing. Returns one digest of what a live
-- view reads, and of the number of rows that were ever inserted, updated and deleted there. It is
-- computed right before a REFRESH, and later again to find out whether another REFRESH is needed.
--
-- The digest also changes after a TRUNCATE or a rewrite (another relfilenode), after a crash or a
-- reset of the statistics (another stats_reset), when a view is replaced or a table altered
-- (another version of its row in the catalog), when others have recreated the members (another
-- OID), and when the settings change under which definitions are evaluated. Writes that this
-- session has yet to report are included.
--
-- The live view is bound to objects, and its text to their names, so the digest also changes when
-- the text may mean something else: when anything that the view reads, or a column of it, has
-- another name or schema; when another relation has the same name, in any schema; when a table has
-- other keys, which decide where ids are taken from; when the labels of an enum change, if the view
-- uses a type of the project; and when a function, an operator or a cast of the project is created
-- or changed, since it may be called instead of one of Postgres.
--
-- If only the key of users is read, an update within a page (HOT) does not count, since it changes
-- no indexed column. This rule is off where transactions may be prepared: there, it counts as HOT
-- before it counts as an update.
--
-- It is a function so that each session plans this once.
CREATE OR REPLACE FUNCTION {function} (
    live_view regclass, members_view regclass, users_table regclass, key_column name
) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = '' AS $body$
BEGIN
    RETURN (
        WITH RECURSIVE {reads},
        user_reads AS (
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
            ) AS key_only
        ),
        reference AS (
            SELECT DISTINCT d.refclassid, d.refobjid
            FROM pg_catalog.pg_rewrite AS w
            JOIN pg_catalog.pg_depend AS d
                ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid AND d.refobjid <> w.ev_class
            WHERE w.ev_class = live_view
        ),
        source AS (
            SELECT c.oid, c.relname
            FROM reference
            CROSS JOIN LATERAL (
                SELECT oid, relname FROM pg_catalog.pg_class WHERE oid = reference.refobjid OFFSET 0
            ) AS c
            WHERE reference.refclassid = 'pg_catalog.pg_class'::regclass
        ),
        temporary AS (
            SELECT oid FROM pg_catalog.pg_namespace
            WHERE nspname ~ '^pg_(toast_)?temp_' AND oid <> pg_catalog.pg_my_temp_schema()
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
            SELECT 'constraint', relation.oid, c.words
            FROM relation
            CROSS JOIN LATERAL (
                SELECT pg_catalog.concat_ws(' ', oid, contype, convalidated, conkey, confrelid, confkey) AS words
                FROM pg_catalog.pg_constraint WHERE conrelid = relation.oid OFFSET 0
            ) AS c
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
                        WHEN relation.oid = users_table AND user_reads.key_only
                            THEN pg_catalog.pg_stat_get_tuples_hot_updated(relation.oid)
                                + pg_catalog.pg_stat_get_xact_tuples_hot_updated(relation.oid)
                        ELSE 0
                    END
            )
            FROM relation
            CROSS JOIN user_reads
            WHERE relation.kind <> 'v'
            UNION ALL
            SELECT 'name', refobjid, refclassid || ' ' || (pg_catalog.pg_identify_object(refclassid, refobjid, 0)).identity
            FROM reference
            UNION ALL
            SELECT 'columns', source.oid, (
                SELECT pg_catalog.string_agg(attname, ' ' ORDER BY attnum)
                FROM pg_catalog.pg_attribute WHERE attrelid = source.oid AND attnum > 0
            )
            FROM source
            UNION ALL
            SELECT 'namesake', c.oid, pg_catalog.concat_ws(' ', c.relname, n.nspname, n.xmin, n.ctid)
            FROM (SELECT DISTINCT relname FROM source) AS s
            CROSS JOIN LATERAL (
                SELECT oid, relname, relnamespace FROM pg_catalog.pg_class WHERE relname = s.relname OFFSET 0
            ) AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.oid NOT IN (SELECT oid FROM temporary)
            UNION ALL
            SELECT 'label', oid, enumlabel FROM pg_catalog.pg_enum
            WHERE EXISTS (SELECT FROM reference WHERE refclassid = 'pg_catalog.pg_type'::regclass)
            UNION ALL
            SELECT 'function', 0, pg_catalog.concat_ws(' ', count(*), pg_catalog.bit_xor(pg_catalog.hashtidextended(
                ctid, pg_catalog.hashnameextended(proname, oid::bigint + pronamespace::bigint + pronargdefaults)
            )))
            FROM pg_catalog.pg_proc
            WHERE oid >= 16384 AND pronamespace NOT IN (SELECT oid FROM temporary)
            UNION ALL
            SELECT 'operator', oid, pg_catalog.concat_ws(' ', xmin, ctid) FROM pg_catalog.pg_operator WHERE oid >= 16384
            UNION ALL
            SELECT 'cast', oid, pg_catalog.concat_ws(' ', xmin, ctid) FROM pg_catalog.pg_cast WHERE oid >= 16384
            UNION ALL
            SELECT 'server', d.oid, pg_catalog.concat_ws(
                ' ',
                extract(epoch FROM pg_catalog.pg_postmaster_start_time()),
                extract(epoch FROM pg_catalog.pg_conf_load_time()),
                extract(epoch FROM pg_catalog.pg_stat_get_db_stat_reset_time(d.oid)),
                extract(epoch FROM w.stats_reset),
                pg_catalog.current_setting('track_counts'),
                pg_catalog.to_regclass('pg_catalog.pg_dist_partition')::oid,
                (SELECT pg_catalog.string_agg(s::text, ' ' ORDER BY s::text) FROM pg_catalog.pg_db_role_setting AS s),
                (
                    SELECT p.proconfig::text
                    FROM pg_catalog.pg_proc AS p
                    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
                    WHERE n.nspname = {live_schema} AND p.proname = 'settings'
                )
            )
            FROM pg_catalog.pg_database AS d
            CROSS JOIN pg_catalog.pg_stat_wal AS w
            WHERE d.datname = pg_catalog.current_database()
        )
        SELECT pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
            pg_catalog.string_agg(kind || ' ' || oid || ' ' || words, ',' ORDER BY kind, oid, words), 'UTF8'
        )), 'hex'), 32)
        FROM part
    );
END
$body$


-- name: replace_unchanged_until_function
-- Runs at sync and when the schema is created. Locks nothing. Returns the moment until which
-- nothing that a segment reads was written; NULL if that is unknown.
--
-- Sessions report their writes some time after the commit: at once if they have not reported
-- within the last second, otherwise after ten seconds of idleness, and after a minute if they are
-- never idle. So writes that other sessions have not reported yet were committed after
-- `reported_until`. That moment is unknown if only pg_read_all_stats may look at one of the
-- sessions. Those in own_pids report with each commit (pg_stat_force_next_flush).
--
-- The function looks at the sessions before it looks at the counters, so a session that reports in
-- between counts as unreported. A session that chains transactions without a pause (COMMIT AND
-- CHAIN) reports nothing as long as that lasts, and nothing shows how long it has done so. So with
-- a lag, each session that is in a transaction must be seen outside one, or gone, within a tenth of
-- a second.
CREATE OR REPLACE FUNCTION {function} (
    live_view regclass, members_view regclass, users_table regclass, key_column name,
    last_digest text, since timestamptz, lag interval, own_pids integer[]
) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SET search_path = '' AS $body$
DECLARE
    checked_at timestamptz := pg_catalog.clock_timestamp();
    reported_until timestamptz;
    in_transaction integer[];
BEGIN
    PERFORM pg_catalog.pg_stat_clear_snapshot();
    SELECT
        CASE
            WHEN count(*) = 0 THEN checked_at
            WHEN bool_and(moment IS NOT NULL) THEN min(moment) - interval '75 seconds'
        END,
        pg_catalog.array_agg(pid) FILTER (WHERE chains)
    INTO reported_until, in_transaction
    FROM (
        SELECT
            a.pid,
            a.xact_start IS NOT NULL
                AND NOT (a.backend_type = 'walsender' AND a.query LIKE 'START_REPLICATION%') AS chains,
            CASE
                WHEN a.state = 'idle' THEN a.state_change
                WHEN a.backend_type = 'walsender' AND a.query LIKE 'START_REPLICATION%' THEN a.query_start
                WHEN a.xact_start IS NOT NULL THEN least(a.xact_start, a.query_start)
            END AS moment,
            -- One message may contain several transactions; the later ones report its start as theirs.
            CASE
                WHEN a.state LIKE 'idle%' THEN a.state_change <= since
                WHEN a.backend_type = 'walsender' AND a.query LIKE 'START_REPLICATION%' THEN a.query_start <= since
                ELSE a.xact_start < a.query_start AND a.query_start <= since
            END AS before,
            a.state = 'idle' AND a.backend_type IN ('client backend', 'walsender')
                AND a.state_change < checked_at - interval '15 seconds' AS idle
        FROM pg_catalog.pg_stat_get_activity(NULL) AS a
        WHERE a.datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
            AND a.pid <> pg_catalog.pg_backend_pid()
            AND a.pid <> ALL (own_pids)
            AND a.usesysid IS NOT NULL
            AND a.backend_type IS DISTINCT FROM 'parallel worker'
    ) AS session
    WHERE NOT coalesce(before OR idle, false);
    IF checked_at < since OR reported_until < checked_at - lag OR reported_until IS NULL
        OR {read_digest}(live_view, members_view, users_table, key_column) IS DISTINCT FROM last_digest
    THEN
        RETURN NULL;
    END IF;
    IF in_transaction IS NULL THEN
        RETURN reported_until;
    END IF;
    FOR attempt IN 1..20 LOOP
        PERFORM pg_catalog.pg_sleep(0.005);
        PERFORM pg_catalog.pg_stat_clear_snapshot();
        SELECT pg_catalog.array_agg(a.pid) INTO in_transaction
        FROM pg_catalog.pg_stat_get_activity(NULL) AS a
        WHERE a.pid = ANY (in_transaction) AND a.state IS DISTINCT FROM 'idle';
        IF in_transaction IS NULL THEN
            RETURN CASE
                WHEN {read_digest}(live_view, members_view, users_table, key_column) = last_digest THEN reported_until
            END;
        END IF;
    END LOOP;
    RETURN NULL;
END
$body$
