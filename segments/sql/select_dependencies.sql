-- Runs before a live view is detached; locks nothing. The tables and columns that it reads.
SELECT DISTINCT d.refobjid::bigint, d.refobjsubid, d.refobjid::regclass::text, a.attname::text
FROM pg_catalog.pg_rewrite AS w
JOIN pg_catalog.pg_depend AS d
    ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> w.ev_class
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE w.ev_class = %(view)s::regclass
ORDER BY 3, 2
