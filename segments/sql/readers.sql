-- name: select_ungranted
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


-- name: select_missing_roles
-- Runs at sync and in the system checks; locks nothing. The reader roles that do not exist.
SELECT role
FROM unnest(%(roles)s::text[]) AS role
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = role)
ORDER BY 1


-- name: grant_usage
-- Runs at sync and creation, for each role in SEGMENTS_READER_ROLES; locks nothing.
GRANT USAGE ON SCHEMA {schema} TO {role}


-- name: grant_select
-- Runs at sync and creation, for each role in SEGMENTS_READER_ROLES; locks nothing.
GRANT SELECT ON {view} TO {role}


-- name: select_former_readers
-- Runs at sync; locks nothing. Of roles that were in SEGMENTS_READER_ROLES, and are no more, those that still may
-- read members, but for who reads all that is made in the schema, as segments_grants lets them; and the views of
-- this package that they read. What others keep in the schema is theirs.
SELECT r.rolname::text AS role, pg_catalog.array_agg(c.relname::text ORDER BY c.relname) AS views
FROM pg_catalog.pg_roles AS r
JOIN pg_catalog.pg_namespace AS n ON n.nspname = %(schema)s
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
WHERE r.rolname = ANY (%(roles)s::text[]) AND r.oid <> n.nspowner
    AND (
        pg_catalog.strpos(pg_catalog.obj_description(c.oid, 'pg_class'), %(mark)s) > 0
        OR c.relkind = 'm' AND EXISTS (
            SELECT FROM pg_catalog.pg_class AS live
            JOIN pg_catalog.pg_namespace AS l ON l.oid = live.relnamespace
            WHERE l.nspname = %(live_schema)s AND live.relname = c.relname
        )
    )
    AND EXISTS (
        SELECT FROM pg_catalog.aclexplode(c.relacl) AS entry
        WHERE entry.grantee = r.oid AND entry.grantor = c.relowner
    )
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_default_acl AS d CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS entry
        WHERE d.defaclnamespace = n.oid AND d.defaclobjtype = 'r' AND entry.grantee = r.oid
    )
GROUP BY 1
ORDER BY 1


-- name: revoke_select
-- Runs at sync, for each role that was taken out of SEGMENTS_READER_ROLES; locks nothing.
REVOKE SELECT ON {view} FROM {role}


-- name: revoke_usage
-- Runs at sync, for each role that was taken out of SEGMENTS_READER_ROLES; locks nothing.
REVOKE USAGE ON SCHEMA {schema} FROM {role}
