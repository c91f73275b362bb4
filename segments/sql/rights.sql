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


-- name: select_exec_role
-- Runs for `manage.py check --database` and segments_grants; locks nothing. What the role that owns the
-- views, or will, lacks; or one that keeps the books of refreshes for it. What is not there lacks nothing.
WITH given AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s
),
need AS (
    SELECT c.oid AS relation, c.relnamespace, n.name, n.privilege, a.attnum, n.attribute
    FROM unnest(%(tables)s::text[], %(privileges)s::text[], %(attributes)s::text[]) AS n (name, privilege, attribute)
    JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(n.name)::oid
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = n.attribute AND NOT a.attisdropped
    WHERE n.attribute IS NULL OR a.attnum IS NOT NULL
)
SELECT 'everything, as there is no such role' AS words WHERE NOT EXISTS (SELECT FROM given)
UNION ALL
SELECT lack.words
FROM given
CROSS JOIN LATERAL (
    VALUES
        ('to be granted to ' || pg_catalog.quote_ident(%(member)s), pg_catalog.pg_has_role(
            %(member)s, given.oid,
            CASE WHEN pg_catalog.current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END
        )),
        ('TEMP on the database', pg_catalog.has_database_privilege(given.oid, pg_catalog.current_database(), 'TEMP')),
        ('CREATE on the schemas of the segments', NOT %(owns)s OR coalesce(
            pg_catalog.has_schema_privilege(given.oid, to_regnamespace(%(schema)s)::oid, 'CREATE')
            AND pg_catalog.has_schema_privilege(given.oid, to_regnamespace(%(live_schema)s)::oid, 'CREATE'),
            pg_catalog.has_database_privilege(given.oid, pg_catalog.current_database(), 'CREATE')
        ))
) AS lack (words, granted)
WHERE NOT lack.granted
UNION ALL
SELECT DISTINCT 'USAGE on schema ' || need.relnamespace::regnamespace
FROM given CROSS JOIN need
WHERE NOT pg_catalog.has_schema_privilege(given.oid, need.relnamespace, 'USAGE')
UNION ALL
(
    SELECT need.privilege || coalesce(
        ' (' || pg_catalog.string_agg(pg_catalog.quote_ident(need.attribute), ', ' ORDER BY need.attnum) || ')', ''
    ) || ' on ' || need.name
    FROM given CROSS JOIN need
    WHERE NOT CASE
        WHEN need.attnum IS NULL THEN pg_catalog.has_table_privilege(given.oid, need.relation, need.privilege)
        ELSE pg_catalog.has_column_privilege(given.oid, need.relation, need.attnum, need.privilege)
    END
    GROUP BY need.name, need.privilege
    ORDER BY need.name COLLATE "C", need.privilege
)


-- name: select_app_role
-- Runs for `manage.py check --database` and segments_grants; locks nothing. What the application's role
-- lacks to ask for members, where another one owns the views; of the views one that it may not read.
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


-- name: select_excess
-- Runs for `manage.py check --database`; locks nothing. What the role that owns the views is and may do
-- besides owning them and reading what it was given; of what it owns or may write, one.
WITH given AS (
    SELECT * FROM pg_catalog.pg_roles WHERE rolname = %(role)s
),
own AS (
    SELECT to_regclass(name)::oid AS oid, name FROM unnest(%(own)s::text[]) AS name
),
need AS (
    SELECT to_regclass(name)::oid AS relation, privilege, attribute
    FROM unnest(%(tables)s::text[], %(privileges)s::text[], %(attributes)s::text[]) AS n (name, privilege, attribute)
)
SELECT attribute.words
FROM given
CROSS JOIN LATERAL (
    VALUES
        ('is a superuser', given.rolsuper),
        ('has BYPASSRLS', given.rolbypassrls),
        ('has CREATEROLE', given.rolcreaterole),
        ('has REPLICATION', given.rolreplication)
) AS attribute (words, had)
WHERE attribute.had AND (NOT given.rolsuper OR attribute.words = 'is a superuser')
UNION ALL
SELECT 'is a member of ' || pg_catalog.string_agg(pg_catalog.quote_ident(r.rolname), ', ' ORDER BY r.rolname)
FROM given
JOIN (SELECT DISTINCT member, roleid FROM pg_catalog.pg_auth_members) AS m ON m.member = given.oid
JOIN pg_catalog.pg_roles AS r ON r.oid = m.roleid
WHERE r.rolname <> ALL (%(tolerated)s::text[])
HAVING count(*) > 0
UNION ALL
(
    SELECT 'owns ' || pg_catalog.pg_describe_object(d.classid, d.objid, 0)
    FROM given
    JOIN pg_catalog.pg_shdepend AS d
        ON d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.refobjid = given.oid AND d.deptype = 'o'
    LEFT JOIN pg_catalog.pg_class AS c ON d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_catalog.pg_proc AS p ON d.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_catalog.pg_namespace AS n
        ON n.oid = coalesce(c.relnamespace, p.pronamespace)
            OR d.classid = 'pg_catalog.pg_namespace'::regclass AND n.oid = d.objid
    WHERE d.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
        AND d.classid <> 'pg_catalog.pg_default_acl'::regclass
        AND n.nspname IS DISTINCT FROM %(schema)s AND n.nspname IS DISTINCT FROM %(live_schema)s
        AND c.relpersistence IS DISTINCT FROM 't'
    ORDER BY c.relkind IS DISTINCT FROM 'r', pg_catalog.pg_describe_object(d.classid, d.objid, 0)
    LIMIT 1
)
UNION ALL
(
    SELECT 'has ' || pg_catalog.string_agg(may.privilege, ', ' ORDER BY may.privilege) || ' on ' || c.oid::regclass
    FROM given
    JOIN pg_catalog.pg_class AS c
        ON c.relkind IN ('r', 'p', 'v', 'f') AND c.relpersistence <> 't' AND c.oid >= 16384 AND c.relowner <> given.oid
    CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS may (privilege)
    WHERE NOT given.rolsuper
        AND CASE
            WHEN may.privilege IN ('INSERT', 'UPDATE') THEN pg_catalog.has_any_column_privilege(given.oid, c.oid, may.privilege)
            ELSE pg_catalog.has_table_privilege(given.oid, c.oid, may.privilege)
        END
        AND pg_catalog.has_schema_privilege(given.oid, c.relnamespace, 'USAGE')
        AND NOT EXISTS (SELECT FROM need WHERE need.relation = c.oid AND need.privilege = may.privilege)
    GROUP BY c.oid
    ORDER BY c.oid::regclass::text
    LIMIT 1
)
UNION ALL
(
    SELECT pg_catalog.format(
        'may read %%s of %%s', pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum), own.name
    )
    FROM given
    CROSS JOIN own
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = own.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE NOT given.rolsuper
        AND pg_catalog.has_column_privilege(given.oid, own.oid, a.attnum, 'SELECT')
        AND NOT EXISTS (
            SELECT FROM need
            WHERE need.relation = own.oid AND need.privilege = 'SELECT'
                AND coalesce(need.attribute = a.attname, true)
        )
    GROUP BY own.name
    ORDER BY own.name
)
