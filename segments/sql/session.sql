-- Sessions: timeouts, roles, and the lock of a segment.


-- name: set_limits
-- Runs at the start of every transaction that works on a segment. Locks nothing. Returns the
-- former values as well, since a caller's transaction goes on with them. Views must stay on the
-- coordinator of a Citus cluster: on its workers, they could not be replaced or dropped freely.
-- Elsewhere, that setting has no effect.
SELECT
    pg_catalog.current_setting('transaction_isolation') AS isolation,
    pg_catalog.current_setting('statement_timeout'),
    pg_catalog.current_setting('lock_timeout'),
    pg_catalog.current_setting('work_mem'),
    pg_catalog.current_setting('application_name'),
    coalesce(pg_catalog.current_setting('citus.enable_ddl_propagation', true), ''),
    pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true),
    pg_catalog.set_config('work_mem', coalesce(%(work_mem)s, pg_catalog.current_setting('work_mem')), true),
    pg_catalog.set_config('application_name', %(application_name)s, true),
    pg_catalog.set_config('citus.enable_ddl_propagation', 'off', true)


-- name: restore_limits
-- Runs after the work on a segment, if the transaction is the caller's and goes on. Locks nothing.
-- Restores what set_limits returned.
SELECT
    pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true),
    pg_catalog.set_config('work_mem', %(work_mem)s, true),
    pg_catalog.set_config('application_name', %(application_name)s, true),
    pg_catalog.set_config('citus.enable_ddl_propagation', %(propagation)s, true)


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
