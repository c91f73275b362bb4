-- Runs for segments_grants --revoke; locks nothing. Who reads in which schema what a role will make there.
SELECT DISTINCT n.nspname::text AS schema, grantee.rolname::text AS grantee
FROM pg_catalog.pg_default_acl AS d
CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS entry
JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace
JOIN pg_catalog.pg_roles AS grantee ON grantee.oid = entry.grantee
WHERE pg_catalog.pg_get_userbyid(d.defaclrole) = %(role)s AND d.defaclobjtype = 'r'
ORDER BY 1, 2
