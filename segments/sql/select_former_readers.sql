-- Runs at sync; locks nothing. Of roles that were in SEGMENTS_READER_ROLES, and are no more, those that
-- still may read members, but for who reads all that is made in the schema, as segments_grants lets them.
SELECT r.rolname::text AS role
FROM pg_catalog.pg_roles AS r
JOIN pg_catalog.pg_namespace AS n ON n.nspname = %(schema)s
WHERE r.rolname = ANY (%(roles)s::text[]) AND r.oid <> n.nspowner
    AND EXISTS (
        SELECT FROM pg_catalog.pg_class AS c CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS entry
        WHERE c.relnamespace = n.oid AND entry.grantee = r.oid AND entry.grantor = c.relowner
    )
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_default_acl AS d CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS entry
        WHERE d.defaclnamespace = n.oid AND d.defaclobjtype = 'r' AND entry.grantee = r.oid
    )
ORDER BY 1
