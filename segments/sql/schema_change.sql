-- Schema changes: hold back refreshes, detach live views, and find what has changed since.


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


-- name: detach_live_view
-- Runs before migrations and for detach_segments. Takes AccessExclusive on the live view, so it
-- waits for readers of the view and for a running refresh. Afterwards, the tables of the
-- definition may be changed in any way.
CREATE OR REPLACE VIEW {view} AS
SELECT d AS user_id FROM {function}({slug}, NULL::{key_type}) AS d


-- name: select_attached
-- Runs before migrations, and before each of their statements that may change the schema. Locks
-- nothing. Returns the live views of this package that still read something, by their comments.
-- Some tools, such as Citus, recreate views without comments; then the members show whose they are.
SELECT live.relname::text
FROM pg_catalog.pg_class AS live
LEFT JOIN pg_catalog.pg_description AS d
    ON d.classoid = 'pg_catalog.pg_class'::regclass AND d.objoid = live.oid AND d.objsubid = 0
WHERE live.relkind = 'v' AND live.relnamespace = to_regnamespace(%(live_schema)s)
    AND CASE
        WHEN pg_catalog.strpos(d.description, %(signature)s) > 0 THEN pg_catalog.split_part(
            pg_catalog.split_part(d.description, %(signature)s || ' ', 2), ' ', 1
        ) <> ALL (%(detached)s)
        ELSE EXISTS (
            SELECT FROM pg_catalog.pg_depend AS reads
            JOIN pg_catalog.pg_rewrite AS w ON w.oid = reads.objid
            JOIN pg_catalog.pg_class AS members ON members.oid = w.ev_class
            WHERE reads.classid = 'pg_catalog.pg_rewrite'::regclass
                AND reads.refclassid = 'pg_catalog.pg_class'::regclass
                AND reads.refobjid = live.oid
                AND members.relkind = 'm' AND members.relname = live.relname
                AND members.relnamespace = to_regnamespace(%(schema)s)
        )
    END
ORDER BY 1


-- name: select_changes
-- Runs when the definition of a detached segment no longer compiles. Locks nothing. Returns what
-- became of the tables and columns that its live view used to read.
WITH old AS (
    SELECT * FROM pg_catalog.jsonb_to_recordset(%(reads)s::jsonb)
        AS reference (id bigint, number integer, relation text, name text)
),
change (relation, number, words) AS (
    SELECT DISTINCT old.relation, 0, CASE
        WHEN c.oid IS NULL THEN pg_catalog.format('table %%s is gone', old.relation)
        ELSE pg_catalog.format('table %%s is now %%s', old.relation, c.oid::regclass)
    END
    FROM old LEFT JOIN pg_catalog.pg_class AS c ON c.oid = old.id
    WHERE c.oid IS NULL OR c.oid::regclass::text <> old.relation
    UNION ALL
    SELECT old.relation, old.number, CASE
        WHEN a.attisdropped THEN pg_catalog.format('column %%s.%%s is gone', old.relation, old.name)
        ELSE pg_catalog.format('column %%s.%%s is now %%s', old.relation, old.name, a.attname)
    END
    FROM old JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = old.id AND a.attnum = old.number
    WHERE old.number <> 0 AND (a.attisdropped OR a.attname <> old.name)
)
SELECT words FROM change ORDER BY relation, number


-- name: select_identity
-- Runs at migrate. Locks nothing. Identifies this database, whatever connection leads to it.
SELECT pg_catalog.concat_ws(' ', pg_catalog.pg_postmaster_start_time(), d.oid, d.datname)
FROM pg_catalog.pg_database AS d
WHERE d.datname = pg_catalog.current_database()
