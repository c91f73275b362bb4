-- Runs right before a REFRESH; locks nothing. Whether a live view may change its rows without a trace
-- that select_trace.sql would show: through time, randomness, settings or functions, of which all but
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
