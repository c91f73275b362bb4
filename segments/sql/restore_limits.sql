-- Runs after what set_limits.sql was for, in a transaction that goes on; locks nothing.
SELECT
    pg_catalog.set_config('statement_timeout', %s, true),
    pg_catalog.set_config('lock_timeout', %s, true),
    pg_catalog.set_config('work_mem', %s, true),
    pg_catalog.set_config('application_name', %s, true),
    pg_catalog.set_config('citus.enable_ddl_propagation', %s, true)
