-- name: select_server
-- Runs for `manage.py check --database`; locks nothing.
SELECT
    pg_catalog.current_database() AS database,
    pg_catalog.pg_postmaster_start_time() AS server,
    current_user::text AS role,
    session_user::text AS login,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP') AS may_temp,
    coalesce(
        pg_catalog.has_schema_privilege(to_regnamespace(%(schema)s)::oid, 'CREATE')
        AND pg_catalog.has_schema_privilege(to_regnamespace(%(live_schema)s)::oid, 'CREATE'),
        pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
    ) AS may_create


-- name: select_missing_rights
-- Runs for `manage.py check --database` and grant_segments; locks nothing. Privileges missing from the current
-- or future owner of the views, or from a role that refreshes them. Missing objects are skipped.
WITH role AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s
),
needed AS (
    SELECT c.oid AS relation, c.relnamespace, n.name, n.privilege, a.attnum, n.attribute
    FROM unnest(%(tables)s::text[], %(privileges)s::text[], %(attributes)s::text[]) AS n (name, privilege, attribute)
    JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(n.name)::oid
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = n.attribute AND NOT a.attisdropped
    WHERE n.attribute IS NULL OR a.attnum IS NOT NULL
)
SELECT 'everything, because it does not exist' AS words WHERE NOT EXISTS (SELECT FROM role)
UNION ALL
SELECT requirement.words
FROM role
CROSS JOIN LATERAL (
    VALUES
        (pg_catalog.quote_ident(%(member)s) || ' as a member', pg_catalog.pg_has_role(
            %(member)s, role.oid,
            CASE WHEN pg_catalog.current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END
        )),
        ('TEMP on the database', pg_catalog.has_database_privilege(role.oid, pg_catalog.current_database(), 'TEMP')),
        ('CREATE on the schemas of the segments', NOT %(owns)s OR coalesce(
            pg_catalog.has_schema_privilege(role.oid, to_regnamespace(%(schema)s)::oid, 'CREATE')
            AND pg_catalog.has_schema_privilege(role.oid, to_regnamespace(%(live_schema)s)::oid, 'CREATE'),
            pg_catalog.has_database_privilege(role.oid, pg_catalog.current_database(), 'CREATE')
        ))
) AS requirement (words, is_met)
WHERE NOT requirement.is_met
UNION ALL
SELECT DISTINCT 'USAGE on schema ' || needed.relnamespace::regnamespace
FROM role CROSS JOIN needed
WHERE NOT pg_catalog.has_schema_privilege(role.oid, needed.relnamespace, 'USAGE')
UNION ALL
(
    SELECT needed.privilege || coalesce(
        ' (' || pg_catalog.string_agg(pg_catalog.quote_ident(needed.attribute), ', ' ORDER BY needed.attnum) || ')', ''
    ) || ' on ' || needed.name
    FROM role CROSS JOIN needed
    WHERE NOT CASE
        WHEN needed.attnum IS NULL THEN pg_catalog.has_table_privilege(role.oid, needed.relation, needed.privilege)
        ELSE pg_catalog.has_column_privilege(role.oid, needed.relation, needed.attnum, needed.privilege)
    END
    GROUP BY needed.name, needed.privilege
    ORDER BY needed.name COLLATE "C", needed.privilege
)


-- name: select_missing_rights_of_app
-- Runs for `manage.py check --database` and grant_segments; locks nothing. Privileges missing from the
-- application's role where another role owns the views; of the views that it cannot read, only the first.
(
    SELECT 'USAGE on schema ' || n.nspname AS words
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname IN (%(schema)s, %(live_schema)s)
        AND NOT pg_catalog.has_schema_privilege(%(role)s, n.oid, 'USAGE')
    ORDER BY n.nspname
)
UNION ALL
(
    SELECT pg_catalog.format('SELECT on %%I.%%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relkind IN ('v', 'm')
        AND NOT pg_catalog.has_table_privilege(%(role)s, c.oid, 'SELECT')
    ORDER BY c.relname
    LIMIT 1
)


-- name: select_surplus_rights
-- Runs for `manage.py check --database`; locks nothing. What gives the owner of the views, and so each
-- definition, more rights than were granted to it.
WITH role AS (
    SELECT * FROM pg_catalog.pg_roles WHERE rolname = %(role)s
)
SELECT 'SUPERUSER' AS words FROM role WHERE rolsuper
UNION ALL
SELECT 'BYPASSRLS' FROM role WHERE rolbypassrls AND NOT rolsuper
UNION ALL
SELECT 'CREATEROLE' FROM role WHERE rolcreaterole AND NOT rolsuper
UNION ALL
SELECT 'membership in ' || pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(r.rolname), ', ')
FROM role
JOIN pg_catalog.pg_auth_members AS m ON m.member = role.oid
JOIN pg_catalog.pg_roles AS r ON r.oid = m.roleid
WHERE r.rolname <> ALL (%(allowed)s::text[])
HAVING count(*) > 0


-- name: select_database
-- Runs for grant_segments; locks nothing. This database, and whether every role can connect to it.
SELECT
    pg_catalog.current_database()::text AS database,
    pg_catalog.has_database_privilege('public', pg_catalog.current_database(), 'CONNECT') AS public_connects


-- name: select_is_superuser
-- Runs for grant_segments; locks nothing. Whether the role is a superuser; no row if it does not exist.
SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = %(role)s


-- name: select_owned
-- Runs for grant_segments; locks nothing. The two schemas, and the views and functions in them, as ALTER
-- names them. The schemas come first, because the new owner of a view needs CREATE on its schema.
SELECT kind, name
FROM (
    SELECT 'SCHEMA' AS kind, pg_catalog.quote_ident(nspname) AS name
    FROM pg_catalog.pg_namespace
    WHERE nspname IN (%(schema)s, %(live_schema)s)
    UNION ALL
    SELECT
        CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END,
        pg_catalog.format('%%I.%%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN (%(schema)s, %(live_schema)s) AND c.relkind IN ('v', 'm')
    UNION ALL
    SELECT 'FUNCTION', p.oid::regprocedure::text
    FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname IN (%(schema)s, %(live_schema)s)
) AS owned
ORDER BY kind <> 'SCHEMA', kind, name


-- name: select_granted
-- Runs for grant_segments --revoke; locks nothing. This database, and the schemas and tables in it, if the
-- role has rights on them that were granted to it, as REVOKE names them.
SELECT DISTINCT
    CASE object.type WHEN 'database' THEN 'DATABASE' WHEN 'schema' THEN 'SCHEMA' ELSE 'TABLE' END AS kind,
    object.identity AS name
FROM pg_catalog.pg_database AS here
JOIN pg_catalog.pg_shdepend AS d
    ON d.dbid = here.oid AND d.classid IN ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_namespace'::regclass)
        OR d.classid = 'pg_catalog.pg_database'::regclass AND d.objid = here.oid
CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) AS object
WHERE here.datname = pg_catalog.current_database()
    AND d.deptype = 'a' AND d.refclassid = 'pg_catalog.pg_authid'::regclass
    AND d.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s)
ORDER BY 1, 2


-- name: select_roles_to_borrow
-- Runs for grant_segments; locks nothing. The roles whose rights the statements take and this session lacks,
-- whether it can grant itself the role, and with which options it did so before (as JSON: new in PostgreSQL 16).
WITH needed (name) AS (
    VALUES (%(role)s), (%(app_role)s)
    UNION
    SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_catalog.pg_database
    WHERE datname = pg_catalog.current_database()
    UNION
    SELECT pg_catalog.pg_get_userbyid(relowner) FROM pg_catalog.pg_class
    WHERE oid IN (SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) AS name)
)
SELECT
    needed.name::text,
    coalesce(
        pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION') OR %(old)s AND me.rolcreaterole AND NOT r.rolsuper,
        true
    ) AS can_grant_self,
    (
        SELECT pg_catalog.format('INHERIT %%s, SET %%s', m ->> 'inherit_option', m ->> 'set_option')
        FROM pg_catalog.pg_auth_members AS a CROSS JOIN LATERAL pg_catalog.to_jsonb(a) AS m
        WHERE NOT %(old)s AND a.roleid = r.oid AND a.member = me.oid AND a.grantor = me.oid
    ) AS previous_options
FROM pg_catalog.pg_roles AS me CROSS JOIN needed LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = needed.name
WHERE me.rolname = current_user AND NOT me.rolsuper
    AND (r.oid IS NOT NULL OR me.rolcreaterole)
    AND (needed.name, me.rolname) IS DISTINCT FROM (%(role)s, %(member)s)
    AND NOT coalesce(
        pg_catalog.pg_has_role(r.oid, 'USAGE')
        AND pg_catalog.pg_has_role(r.oid, CASE WHEN %(old)s THEN 'MEMBER' ELSE 'SET' END), false
    )
ORDER BY 1


-- name: create_role
-- Runs for grant_segments, unless the role exists; locks nothing. A role with LOGIN has no password yet.
DO $body$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {name}) THEN CREATE ROLE {role} {login}; END IF; END $body$


-- name: grant_membership
-- Runs for grant_segments; locks the role against other changes of its members.
GRANT {role} TO {member}


-- name: grant_membership_with
-- Runs for grant_segments without a superuser, on PostgreSQL 16 and later; locks the role against other changes
-- of its members.
GRANT {role} TO {member} WITH {options}


-- name: revoke_membership
-- Runs for grant_segments --revoke, and at the end of each run without a superuser; locks the role against other
-- changes of its members.
REVOKE {role} FROM {member}


-- name: grant_temporary
-- Runs for grant_segments; locks nothing. A refresh needs temporary tables.
GRANT TEMPORARY ON DATABASE {database} TO {roles}


-- name: grant_connect
-- Runs for grant_segments, for each role that logs in, if not every role can connect; locks nothing.
GRANT CONNECT ON DATABASE {database} TO {roles}


-- name: revoke_connect
-- Runs for grant_segments --revoke, for each --reader, if not every role can connect; locks nothing.
REVOKE CONNECT ON DATABASE {database} FROM {roles}


-- name: create_owned_schema
-- Runs for grant_segments; locks nothing.
CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {role}


-- name: alter_owner
-- Runs for grant_segments, and with --revoke; AccessExclusive on a view, so it waits for the view's readers.
ALTER {kind} {name} OWNER TO {role}


-- name: grant_on_table
-- Runs for grant_segments; AccessShare on the table.
GRANT {privilege} ON {table} TO {role}


-- name: grant_select_on_all
-- Runs for grant_segments, for the application and each --reader; locks nothing.
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {roles}


-- name: revoke_select_on_all
-- Runs for grant_segments --revoke, for each --reader; locks nothing.
REVOKE SELECT ON ALL TABLES IN SCHEMA {schema} FROM {roles}


-- name: grant_select_by_default
-- Runs for grant_segments, for the application and each --reader; locks nothing. It covers views to come.
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT SELECT ON TABLES TO {roles}


-- name: revoke_select_by_default
-- Runs for grant_segments --revoke, for the application and each --reader; locks nothing.
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} REVOKE SELECT ON TABLES FROM {roles}


-- name: revoke_all
-- Runs for grant_segments on tables, and with --revoke on schemas and the database; AccessShare on a table.
REVOKE ALL ON {target} FROM {role}


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
