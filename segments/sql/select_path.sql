-- Runs at sync and when the schema is created; locks nothing. The schemas in which this session looks names up,
-- where to read a table runs functions that the project has written: those of its policies, or of a view.
SELECT schema::text
FROM unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS path (schema, place)
WHERE schema !~ '^pg_temp' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_class AS c
    WHERE c.oid = to_regclass(%(name)s) AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
)
ORDER BY place
