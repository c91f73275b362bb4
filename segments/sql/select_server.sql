-- Runs for `manage.py check --database`; locks nothing.
SELECT
    pg_catalog.current_database() AS database,
    pg_catalog.pg_postmaster_start_time() AS server,
    current_user::text AS role,
    session_user::text AS login,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP') AS may_temp,
    coalesce(
        pg_catalog.has_schema_privilege(to_regnamespace(%(schema)s)::oid, 'CREATE')
        AND pg_catalog.has_schema_privilege(to_regnamespace(%(live_schema)s)::oid, 'CREATE'),
        pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
    ) AS may_create
