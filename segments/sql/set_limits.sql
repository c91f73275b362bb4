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
