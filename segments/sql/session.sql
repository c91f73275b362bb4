-- name: set_limits
-- Runs before anything that evaluates a definition; locks nothing. Gives the values of before, since
-- a transaction of the caller goes on with them. Views stay on the coordinator of a Citus cluster: on its
-- workers they could not be replaced or dropped at will. Elsewhere that setting means nothing.
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
-- Runs after what set_limits.sql was for, in a transaction that goes on; locks nothing.
SELECT
    pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true),
    pg_catalog.set_config('work_mem', %(work_mem)s, true),
    pg_catalog.set_config('application_name', %(application_name)s, true),
    pg_catalog.set_config('citus.enable_ddl_propagation', %(propagation)s, true)


-- name: select_role
-- Runs before set_role.sql; locks nothing. The role whose rights this transaction has, `none` if its own.
SELECT pg_catalog.current_setting('role')


-- name: set_role
-- Runs before and after DDL and REFRESH where the views have an owner of their own; locks nothing.
SELECT pg_catalog.set_config('role', %(role)s, true)


-- name: lock_segment
-- Runs before a segment, or what all segments share, is changed; waits up to lock_timeout; held to the
-- end of the transaction. Every writer of a segment's views takes its lock first.
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%(key)s, 0))
