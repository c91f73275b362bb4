-- Runs at sync; locks nothing. The reader roles that lack SELECT on a view, or the way to it.
SELECT role
FROM unnest(%(roles)s::text[]) AS role
WHERE NOT (
    pg_catalog.has_schema_privilege(role, %(schema)s, 'USAGE')
    AND pg_catalog.has_table_privilege(role, %(view)s::regclass, 'SELECT')
)
