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
