-- Runs at sync and creation; locks nothing. The reader roles that lack SELECT on a view, or the way to
-- it; those that do not exist are left out.
SELECT r.rolname::text, pg_catalog.has_schema_privilege(r.oid, %(schema)s, 'USAGE') AS may_use
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = ANY (%(roles)s::text[])
    AND NOT (
        pg_catalog.has_schema_privilege(r.oid, %(schema)s, 'USAGE')
        AND pg_catalog.has_table_privilege(r.oid, %(view)s::regclass, 'SELECT')
    )
ORDER BY 1
