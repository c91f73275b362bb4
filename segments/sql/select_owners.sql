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
