-- Runs before live views are detached; locks nothing. The tables and columns that each of them reads.
SELECT
    v.relname::text AS view,
    pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_object(
        'id', d.refobjid::bigint,
        'number', d.refobjsubid,
        'relation', d.refobjid::regclass::text,
        'name', a.attname
    )) AS reads
FROM pg_catalog.pg_class AS v
JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = v.oid
JOIN pg_catalog.pg_depend AS d
    ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> w.ev_class
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE v.relkind = 'v' AND v.relnamespace = to_regnamespace(%(live_schema)s)
GROUP BY v.relname
