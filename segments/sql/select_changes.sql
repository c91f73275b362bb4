-- Runs when a detached definition does not compile any more; locks nothing. What has become of the
-- tables and columns that it used to read.
WITH old AS (
    SELECT * FROM pg_catalog.jsonb_to_recordset(%(reads)s::jsonb)
        AS given (id bigint, number integer, relation text, name text)
),
change (relation, number, words) AS (
    SELECT DISTINCT old.relation, 0, CASE
        WHEN c.oid IS NULL THEN pg_catalog.format('table %%s is gone', old.relation)
        ELSE pg_catalog.format('table %%s is now %%s', old.relation, c.oid::regclass)
    END
    FROM old LEFT JOIN pg_catalog.pg_class AS c ON c.oid = old.id
    WHERE c.oid IS NULL OR c.oid::regclass::text <> old.relation
    UNION ALL
    SELECT old.relation, old.number, CASE
        WHEN a.attisdropped THEN pg_catalog.format('column %%s.%%s is gone', old.relation, old.name)
        ELSE pg_catalog.format('column %%s.%%s is now %%s', old.relation, old.name, a.attname)
    END
    FROM old JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = old.id AND a.attnum = old.number
    WHERE old.number <> 0 AND (a.attisdropped OR a.attname <> old.name)
)
SELECT words FROM change ORDER BY relation, number
