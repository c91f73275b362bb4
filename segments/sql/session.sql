-- Sessions: timeouts, roles, and the lock of a segment.


-- name: set_limits
-- Runs at the start of every transaction that works on a segment. Locks nothing. Returns the
-- former values as well, since a caller's transaction goes on with them. The statements of this
-- package have backslashes in strings, which mean themselves only in standard strings. Views must
-- stay on the coordinator of a Citus cluster: on its workers, they could not be replaced or dropped
-- freely. Elsewhere, that setting has no effect.
SELECT
    pg_catalog.current_setting('transaction_isolation') AS isolation,
    pg_catalog.current_setting('statement_timeout'),
    pg_catalog.current_setting('lock_timeout'),
    pg_catalog.current_setting('work_mem'),
    pg_catalog.current_setting('application_name'),
    pg_catalog.current_setting('standard_conforming_strings'),
    coalesce(pg_catalog.current_setting('citus.enable_ddl_propagation', true), ''),
    pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true),
    pg_catalog.set_config('work_mem', coalesce(%(work_mem)s, pg_catalog.current_setting('work_mem')), true),
    pg_catalog.set_config('application_name', %(application_name)s, true),
    pg_catalog.set_config('standard_conforming_strings', 'on', true),
    pg_catalog.set_config('citus.enable_ddl_propagation', 'off', true)


-- name: restore_limits
-- Runs after the work on a segment, if the transaction is the caller's and goes on. Locks nothing.
-- Restores what set_limits returned.
SELECT
    pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true),
    pg_catalog.set_config('work_mem', %(work_mem)s, true),
    pg_catalog.set_config('application_name', %(application_name)s, true),
    pg_catalog.set_config('standard_conforming_strings', %(standard_strings)s, true),
    pg_catalog.set_config('citus.enable_ddl_propagation', %(propagation)s, true)


-- name: set_read_committed
-- Runs at the start of a transaction that somebody else has begun, before any other statement in
-- it. Locks nothing.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED


-- name: pin_settings
-- Runs before Postgres parses or evaluates a definition, so that it means the same in every
-- session. Locks nothing. Sets what differs, and returns the former values, or NULL if nothing
-- does. The values are those of the function `settings`, with the time zone of this process.
-- Definitions find names where that function does, and temporary objects of the session last; what
-- runs in an evaluation finds only those of Postgres, as in a REFRESH since PostgreSQL 17.
SELECT
    pg_catalog.json_object_agg(name, former)::text AS former,
    count(pg_catalog.set_config(name, value, true)) AS number
FROM (
    SELECT name, pg_catalog.current_setting(name) AS former, CASE
        WHEN name = 'TimeZone' THEN %(time_zone)s
        WHEN name <> 'search_path' THEN value
        WHEN %(evaluate)s THEN 'pg_catalog, pg_temp'
        WHEN pg_catalog.pg_my_temp_schema() = 0 OR strpos(value, 'pg_temp') > 0 THEN value
        WHEN value IN ('', '""') THEN 'pg_temp'
        ELSE value || ', pg_temp'
    END AS value
    FROM (
        SELECT split_part(entry, '=', 1) AS name, substr(entry, strpos(entry, '=') + 1) AS value
        FROM unnest(coalesce(
            (SELECT proconfig FROM pg_catalog.pg_proc WHERE oid = pg_catalog.to_regprocedure(%(function)s)),
            ARRAY['TimeZone=', 'search_path=' || pg_catalog.current_setting('search_path')]
        )) AS entry
    ) AS kept
    OFFSET 0
) AS pin
WHERE former <> value


-- name: restore_settings
-- Runs after pin_settings, once Postgres has parsed or evaluated a definition, and after
-- reset_settings. Locks nothing.
SELECT count(pg_catalog.set_config(key, value, true)) AS number
FROM pg_catalog.json_each_text(%(former)s::json)


-- name: select_settings
-- Runs when the shared functions are created or compared with what they should be. Locks nothing.
-- Returns the settings that a new session of this role has, and where this session looks up names.
SELECT
    name,
    CASE name WHEN 'search_path' THEN setting ELSE reset_val END AS setting
FROM pg_catalog.pg_settings
WHERE name = ANY(%(names)s)
ORDER BY name


-- name: select_role
-- Runs before set_role. Locks nothing. Returns the role whose privileges this transaction has;
-- `none` means those of the session's own role.
SELECT pg_catalog.current_setting('role')


-- name: set_role
-- Runs before and after DDL and REFRESH, if the views have an owner of their own. Locks nothing.
SELECT pg_catalog.set_config('role', %(role)s, true)


-- name: lock_segment
-- Runs before a segment, or what all segments share, is changed. Waits up to lock_timeout, and
-- holds the lock until the end of the transaction. Everything that changes the views of a segment
-- takes this lock first.
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%(key)s, 0))


-- name: lock_schema_change
-- Runs before migrations, and again if their connection was opened anew. Waits up to lock_timeout
-- for another migration, and for all transactions that may attach a segment, such as refreshes. The
-- session holds the lock, so it is released when the session ends, however that happens. Refreshes
-- of other sessions stand aside meanwhile.
SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended(%(key)s, 0))
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid() AND l.objsubid = 1
        AND l.mode = 'ExclusiveLock'
        AND (l.classid::bigint << 32) | l.objid::bigint = pg_catalog.hashtextextended(%(key)s, 0)
)


-- name: unlock_schema_change
-- Runs when migrations are over, and before a sync. Releases the lock of lock_schema_change if
-- this session holds it.
SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended(%(key)s, 0))
FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid() AND l.objsubid = 1
    AND l.mode = 'ExclusiveLock'
    AND (l.classid::bigint << 32) | l.objid::bigint = pg_catalog.hashtextextended(%(key)s, 0)


-- name: select_held_schema_change
-- Runs before each statement of a migration that may change the schema. Locks nothing. Returns
-- whether this session holds the lock of lock_schema_change.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid() AND l.objsubid = 1
        AND l.mode = 'ExclusiveLock'
        AND (l.classid::bigint << 32) | l.objid::bigint = pg_catalog.hashtextextended(%(key)s, 0)
)


-- name: select_schema_change
-- Runs while a segment's lock is held, before the segment is attached. Never waits. Returns whether
-- another session is changing the schema. If none is, this takes a shared lock until the end of the
-- transaction, so that none can begin before that.
SELECT NOT pg_catalog.pg_try_advisory_xact_lock_shared(pg_catalog.hashtextextended(%(key)s, 0))


-- name: select_blockers
-- Runs when a migration could not get a lock. Locks nothing. Returns the sessions that hold the lock
-- of the schema change, the lock of a segment, or one on its live view, and what they are: another
-- migration, a refresh, or anything else. Cancels the refreshes if asked to. Refreshes of this
-- package hold a shared lock of the schema change; one by hand locks the members.
WITH held AS (
    SELECT
        l.pid,
        l.mode,
        CASE WHEN l.locktype = 'advisory' AND l.objsubid = 1
            THEN (l.classid::bigint << 32) | l.objid::bigint
        END AS key,
        l.relation
    FROM pg_catalog.pg_locks AS l
    WHERE l.granted AND l.pid <> pg_catalog.pg_backend_pid() AND l.locktype IN ('advisory', 'relation')
        AND l.database = (
            SELECT d.oid FROM pg_catalog.pg_database AS d
            WHERE d.datname = pg_catalog.current_database()
        )
),
blocker AS (
    SELECT
        h.pid,
        bool_or(h.key = k.schema_change AND h.mode = 'ExclusiveLock') AS migrates,
        bool_or(h.key = k.schema_change AND h.mode = 'ShareLock') AS attaches,
        bool_or(h.relation = k.live AND h.mode = 'AccessShareLock')
            AND bool_or(h.relation = k.members AND h.mode IN ('ExclusiveLock', 'AccessExclusiveLock'))
            AS refreshes
    FROM held AS h
    CROSS JOIN (
        SELECT
            pg_catalog.hashtextextended(%(schema_change)s, 0) AS schema_change,
            pg_catalog.hashtextextended(%(segment)s, 0) AS segment,
            to_regclass(%(live)s) AS live,
            to_regclass(%(members)s) AS members
    ) AS k
    GROUP BY h.pid
    HAVING bool_or(h.key = k.schema_change OR h.key = k.segment OR h.relation = k.live)
),
described AS (
    SELECT
        b.pid,
        coalesce(a.application_name, '') AS application,
        coalesce(pg_catalog.to_char(CASE WHEN b.migrates THEN a.backend_start ELSE a.xact_start END, 'YYYY-MM-DD HH24:MI:SS TZ'), '') AS since,
        CASE
            WHEN b.migrates THEN 'migration'
            WHEN b.refreshes OR b.attaches AND a.application_name LIKE 'segments: %%' THEN 'refresh'
            ELSE 'transaction'
        END AS kind
    FROM blocker AS b
    LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid
)
SELECT
    pid, application, since, kind,
    CASE WHEN %(cancel)s AND kind = 'refresh' THEN pg_catalog.pg_cancel_backend(pid) END
FROM described
ORDER BY since, pid


-- name: select_identity
-- Runs at migrate. Locks nothing. Identifies this database, whatever connection leads to it.
SELECT pg_catalog.concat_ws(' ', pg_catalog.pg_postmaster_start_time(), d.oid, d.datname)
FROM pg_catalog.pg_database AS d
WHERE d.datname = pg_catalog.current_database()
