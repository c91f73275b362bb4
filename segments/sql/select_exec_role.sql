-- Runs for `manage.py check --database`; locks nothing. What the role that is to own the views lacks.
WITH given AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s
)
SELECT lack.words
FROM given
CROSS JOIN LATERAL (
    VALUES
        ('to be granted to ' || quote_ident(session_user), pg_catalog.pg_has_role(session_user, given.oid, 'MEMBER')),
        ('TEMP on the database', pg_catalog.has_database_privilege(given.oid, current_database(), 'TEMP')),
        ('CREATE on the schemas of the segments', coalesce(
            pg_catalog.has_schema_privilege(given.oid, to_regnamespace(%(schema)s)::oid, 'CREATE')
            AND pg_catalog.has_schema_privilege(given.oid, to_regnamespace(%(live_schema)s)::oid, 'CREATE'),
            pg_catalog.has_database_privilege(given.oid, current_database(), 'CREATE')
        )),
        ('SELECT on the key of ' || %(users)s, coalesce(
            pg_catalog.has_column_privilege(given.oid, to_regclass(%(users)s)::oid, %(key)s, 'SELECT'), true
        ))
) AS lack (words, granted)
WHERE NOT lack.granted
UNION ALL
SELECT 'SELECT on ' || own.name
FROM given
CROSS JOIN unnest(%(tables)s::text[]) AS own (name)
WHERE NOT pg_catalog.has_table_privilege(given.oid, to_regclass(own.name)::oid, 'SELECT')
UNION ALL
SELECT 'to be there' WHERE NOT EXISTS (SELECT FROM given)
