-- Runs for segments_grants --revoke; locks nothing. The statements that take from a role what it was given
-- in this database.
WITH given AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s
)
SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %%s %%s FROM %%I', kind, name, %(role)s)
FROM given
CROSS JOIN LATERAL (
    SELECT 'TABLE' AS kind, c.oid::regclass::text AS name, c.relacl AS acl, c.relowner AS owner
    FROM pg_catalog.pg_class AS c
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION ALL
    SELECT 'TABLE', c.oid::regclass::text, a.attacl, c.relowner
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
    UNION ALL
    SELECT 'SCHEMA', pg_catalog.quote_ident(n.nspname), n.nspacl, n.nspowner
    FROM pg_catalog.pg_namespace AS n
    UNION ALL
    SELECT 'DATABASE', pg_catalog.quote_ident(d.datname), d.datacl, d.datdba
    FROM pg_catalog.pg_database AS d
    WHERE d.datname = pg_catalog.current_database()
) AS object
CROSS JOIN LATERAL pg_catalog.aclexplode(object.acl) AS entry
WHERE entry.grantee = given.oid AND object.owner <> given.oid
ORDER BY 1
