-- Schema changes: hold back refreshes, detach live views, and find what has changed since.


-- name: lock_schema_change
-- Runs before migrations. Waits up to lock_timeout for another migration. The session holds the
-- lock, so it is released when the session ends, however that happens. Refreshes of other sessions
-- stand aside meanwhile.
SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended(%(key)s, 0))
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid() AND l.objsubid = 1
        AND (l.classid::bigint << 32) | l.objid::bigint = pg_catalog.hashtextextended(%(key)s, 0)
)


-- name: unlock_schema_change
-- Runs when migrations are over, and before a sync. Releases the lock of lock_schema_change if
-- this session holds it.
SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended(%(key)s, 0))
FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid() AND l.objsubid = 1
    AND (l.classid::bigint << 32) | l.objid::bigint = pg_catalog.hashtextextended(%(key)s, 0)


-- name: select_schema_change
-- Runs while a segment's lock is held. Never waits, and keeps no lock. Returns whether another
-- session is changing the schema: a lock that can be taken shows that none is, and is released
-- in the same statement.
SELECT CASE
    WHEN pg_catalog.pg_try_advisory_lock_shared(pg_catalog.hashtextextended(%(key)s, 0))
        THEN NOT pg_catalog.pg_advisory_unlock_shared(pg_catalog.hashtextextended(%(key)s, 0))
    ELSE true
END


-- name: detach_live_view
-- Runs before migrations and for detach_segments. Takes AccessExclusive on the live view, so it
-- waits for readers of the view and for a running refresh. Afterwards, the tables of the
-- definition may be changed in any way.
CREATE OR REPLACE VIEW {view} AS
SELECT d AS user_id FROM {function}({slug}, NULL::{key_type}) AS d


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
