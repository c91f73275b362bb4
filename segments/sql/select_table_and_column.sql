-- Runs for segments_using; locks nothing. Reads a.b as table b of schema a, or else as column b of
-- table a.
WITH written AS (SELECT pg_catalog.parse_ident(%(what)s) AS parts),
candidate (relation, attribute, preference) AS (
    SELECT parts, NULL, 1 FROM written WHERE cardinality(parts) <= 2
    UNION ALL
    SELECT parts[:cardinality(parts) - 1], parts[cardinality(parts)], 2
    FROM written WHERE cardinality(parts) BETWEEN 2 AND 3
)
SELECT c.oid::regclass::text AS relation, candidate.attribute
FROM candidate
JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass((
    SELECT pg_catalog.string_agg(pg_catalog.quote_ident(part), '.' ORDER BY place)
    FROM unnest(candidate.relation) WITH ORDINALITY AS named (part, place)
))
WHERE candidate.attribute IS NULL OR EXISTS (
    SELECT FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attname = candidate.attribute AND a.attnum > 0
        AND NOT a.attisdropped
)
ORDER BY candidate.preference
LIMIT 1
