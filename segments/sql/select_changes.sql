-- Runs when a detached definition does not compile any more; locks nothing. What has become of the
-- tables and columns that it used to read.
SELECT
    CASE
        WHEN c.oid IS NULL THEN pg_catalog.format('table %%s is gone', old.relation)
        WHEN old.number = 0 THEN pg_catalog.format('table %%s is now %%s', old.relation, c.oid::regclass)
        WHEN a.attisdropped THEN pg_catalog.format('column %%s.%%s is gone', old.relation, old.name)
        ELSE pg_catalog.format('column %%s.%%s is now %%s', old.relation, old.name, a.attname)
    END AS change
FROM pg_catalog.jsonb_to_recordset(%(reads)s::jsonb)
    AS old (id bigint, number integer, relation text, name text)
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = old.id
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = old.number
WHERE (old.number = 0 AND c.oid IS NULL)
    OR (old.number = 0 AND c.oid::regclass::text <> old.relation)
    OR (old.number <> 0 AND c.oid IS NOT NULL AND (a.attisdropped OR a.attname <> old.name))
ORDER BY old.relation, old.number
