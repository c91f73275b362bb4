-- name: select_current_role
-- Runs for segments_grants; locks nothing. The role whose rights this session has.
SELECT current_user::text


-- name: select_database
-- Runs for segments_grants; locks nothing.
SELECT pg_catalog.current_database()


-- name: select_default_grants
-- Runs for segments_grants --revoke; locks nothing. Who reads in which schema what a role will make there.
SELECT DISTINCT n.nspname::text AS schema, grantee.rolname::text AS grantee
FROM pg_catalog.pg_default_acl AS d
CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS entry
JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace
JOIN pg_catalog.pg_roles AS grantee ON grantee.oid = entry.grantee
WHERE pg_catalog.pg_get_userbyid(d.defaclrole) = %(role)s AND d.defaclobjtype = 'r'
ORDER BY 1, 2


-- name: select_granted
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


-- name: select_is_superuser
-- Runs for segments_grants; locks nothing. Whether a role may do everything; no row where there is no such role.
SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = %(role)s


-- name: select_other_databases
-- Runs for segments_grants --revoke; locks nothing. The other databases in which a role owns something or
-- was given a right.
SELECT DISTINCT d.datname::text AS database
FROM pg_catalog.pg_shdepend AS s
JOIN pg_catalog.pg_database AS d
    ON d.oid = s.dbid OR s.dbid = 0 AND s.classid = 'pg_catalog.pg_database'::regclass AND d.oid = s.objid
WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass
    AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s)
    AND d.datname <> pg_catalog.current_database()
ORDER BY 1


-- name: select_owned
-- Runs for segments_grants; locks nothing. All views and functions in the two schemas, as ALTER names them.
SELECT
    CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind,
    pg_catalog.format('%%I.%%I', n.nspname, c.relname) AS name
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname IN (%(schema)s, %(live_schema)s) AND c.relkind IN ('v', 'm')
UNION ALL
SELECT 'FUNCTION', p.oid::regprocedure::text
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname IN (%(schema)s, %(live_schema)s)
ORDER BY 1, 2


-- name: select_owners
-- Runs for segments_grants; locks nothing. Of the role that is to own the views, the application's, and
-- those that own what they are to get or to give, the ones whose rights this session lacks; and whether it
-- may make itself a member of them for a while, as it may of one that it is yet to create; and what it had
-- granted itself before. Not of the role where that is granted to it for good.
WITH me AS (
    SELECT *, pg_catalog.current_setting('server_version_num')::integer < 160000 AS old
    FROM pg_catalog.pg_roles WHERE rolname = current_user
),
owner (oid) AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s
    UNION
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(app)s AND %(revoke)s
    UNION
    SELECT datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
    UNION
    SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname IN (%(schema)s, %(live_schema)s)
    UNION
    SELECT c.relowner
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN (%(schema)s, %(live_schema)s)
    UNION
    SELECT p.proowner
    FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname IN (%(schema)s, %(live_schema)s)
    UNION
    SELECT c.relowner
    FROM pg_catalog.pg_class AS c
    WHERE c.oid IN (SELECT to_regclass(name)::oid FROM unnest(%(tables)s::text[]) AS name)
)
SELECT r.rolname::text AS name, CASE
    WHEN me.old THEN me.rolcreaterole AND me.rolinherit AND NOT r.rolsuper
    ELSE pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')
END AS may_lend, (
    -- As JSON, since these columns are new in PostgreSQL 16.
    SELECT pg_catalog.format('INHERIT %%s, SET %%s', m.had ->> 'inherit_option', m.had ->> 'set_option')
    FROM (SELECT pg_catalog.to_jsonb(a) AS had FROM pg_catalog.pg_auth_members AS a WHERE a.roleid = r.oid AND a.member = me.oid) AS m
    WHERE NOT me.old AND (m.had ->> 'grantor')::oid = me.oid
) AS had
FROM me
CROSS JOIN owner
JOIN pg_catalog.pg_roles AS r ON r.oid = owner.oid
WHERE NOT me.rolsuper
    AND NOT (
        pg_catalog.pg_has_role(r.oid, 'USAGE')
        AND pg_catalog.pg_has_role(r.oid, CASE WHEN me.old THEN 'MEMBER' ELSE 'SET' END)
    )
    AND NOT (r.rolname = %(role)s AND me.rolname = %(given_to)s)
UNION ALL
SELECT %(role)s, true, NULL
FROM me
WHERE me.rolcreaterole AND NOT me.rolsuper AND me.rolname <> %(given_to)s
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %(role)s)
    AND (
        SELECT NOT (given LIKE '%%set%%' AND given LIKE '%%inherit%%')
        FROM coalesce(pg_catalog.current_setting('createrole_self_grant', true), '') AS given
    )
ORDER BY 1


-- name: select_public_connect
-- Runs for segments_grants; locks nothing. Whether every role may connect to this database.
SELECT pg_catalog.has_database_privilege('public', pg_catalog.current_database(), 'CONNECT')
