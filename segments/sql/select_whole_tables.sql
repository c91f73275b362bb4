-- Runs for a preview; locks nothing. The tables of two columns or more of which all columns are given.
SELECT a.attrelid::regclass::text
FROM pg_catalog.pg_attribute AS a
LEFT JOIN (
    SELECT DISTINCT * FROM unnest(%(tables)s::oid[], %(numbers)s::integer[]) AS g (relation, number)
) AS given ON given.relation = a.attrelid AND given.number = a.attnum
WHERE a.attrelid = ANY(%(tables)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY a.attrelid
HAVING count(*) > 1 AND count(*) = count(given.number)
ORDER BY 1
