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
