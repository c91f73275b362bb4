-- Runs at sync and in the system checks; locks nothing. The reader roles that do not exist.
SELECT role
FROM unnest(%(roles)s::text[]) AS role
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = role)
ORDER BY 1
