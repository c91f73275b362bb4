-- Runs when migrations are over, and before a sync; gives back what this session has, if it has it.
SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended(%(key)s, 0))
FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid() AND l.objsubid = 1
    AND (l.classid::bigint << 32) | l.objid::bigint = pg_catalog.hashtextextended(%(key)s, 0)
