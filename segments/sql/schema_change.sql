-- name: lock_schema_change
-- Runs before migrations; waits up to lock_timeout for another migration. Held by the session, and
-- so gone with it, however it ends. Refreshes of other sessions stand aside meanwhile.
SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended(%(key)s, 0))
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid() AND l.objsubid = 1
        AND (l.classid::bigint << 32) | l.objid::bigint = pg_catalog.hashtextextended(%(key)s, 0)
)


-- name: unlock_schema_change
-- Runs when migrations are over, and before a sync; gives back what this session has, if it has it.
SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended(%(key)s, 0))
FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid() AND l.objsubid = 1
    AND (l.classid::bigint << 32) | l.objid::bigint = pg_catalog.hashtextextended(%(key)s, 0)


-- name: select_schema_change
-- Runs when a segment's lock has been taken; does not wait and keeps nothing. Whether another session
-- changes the schema: a lock that can be had is given back in the same statement.
SELECT CASE
    WHEN pg_catalog.pg_try_advisory_lock_shared(pg_catalog.hashtextextended(%(key)s, 0))
        THEN NOT pg_catalog.pg_advisory_unlock_shared(pg_catalog.hashtextextended(%(key)s, 0))
    ELSE true
END


-- name: detach_live_view
-- Runs before migrations and for detach_segments; AccessExclusive on the live view: waits for its
-- readers and for a running refresh. Frees the tables of its definition for any change.
CREATE OR REPLACE VIEW {view} AS
SELECT d AS user_id FROM {function}({slug}, NULL::{key_type}) AS d


-- name: select_changes
-- Runs when a detached definition does not compile any more; locks nothing. What has become of the
-- tables and columns that it used to read.
WITH old AS (
    SELECT * FROM pg_catalog.jsonb_to_recordset(%(reads)s::jsonb)
        AS given (id bigint, number integer, relation text, name text)
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
-- Runs at migrate; locks nothing. Which database this is; the same by whatever way one has come to it.
SELECT pg_catalog.concat_ws(' ', pg_catalog.pg_postmaster_start_time(), d.oid, d.datname)
FROM pg_catalog.pg_database AS d
WHERE d.datname = pg_catalog.current_database()
