-- Runs for segments_using; locks nothing. Reads a.b as table b of schema a, or else as column b of
-- table a.
SELECT c.oid::regclass::text AS relation, found.attribute
FROM (
    SELECT to_regclass(%(what)s) AS relation, NULL::text AS attribute, 1 AS preference
    UNION ALL
    SELECT a.attrelid, a.attname, 2
    FROM pg_catalog.pg_attribute AS a
    WHERE a.attnum > 0 AND NOT a.attisdropped
        AND a.attrelid = to_regclass(pg_catalog.regexp_replace(%(what)s, '\.[^.]*$', ''))
        AND a.attname = pg_catalog.btrim(pg_catalog.regexp_replace(%(what)s, '^.*\.', ''), '"')
) AS found
JOIN pg_catalog.pg_class AS c ON c.oid = found.relation
ORDER BY found.preference
LIMIT 1
