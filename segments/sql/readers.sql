-- name: select_ungranted
-- Runs at sync and creation; locks nothing. The roles in SEGMENTS_READER_ROLES that lack SELECT on a view or
-- USAGE on its schema. Roles that do not exist are skipped.
SELECT r.rolname::text, pg_catalog.has_schema_privilege(r.oid, %(schema)s, 'USAGE') AS may_use
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = ANY (%(roles)s::text[])
    AND NOT (
        pg_catalog.has_schema_privilege(r.oid, %(schema)s, 'USAGE')
        AND pg_catalog.has_table_privilege(r.oid, %(view)s::regclass, 'SELECT')
    )
ORDER BY 1


-- name: select_missing_roles
-- Runs at sync and in the system checks; locks nothing. The roles in SEGMENTS_READER_ROLES that do
-- not exist.
SELECT role
FROM unnest(%(roles)s::text[]) AS role
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = role)
ORDER BY 1


-- name: grant_usage
-- Runs at sync and creation, for each role in SEGMENTS_READER_ROLES, and for grant_segments; locks nothing.
GRANT USAGE ON SCHEMA {schema} TO {role}


-- name: grant_select
-- Runs at sync and creation, for each role in SEGMENTS_READER_ROLES; locks nothing.
GRANT SELECT ON {view} TO {role}
