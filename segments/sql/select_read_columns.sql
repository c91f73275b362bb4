-- Runs for a preview; locks nothing. What a view reads itself: tables and views, with their columns.
SELECT d.refobjid::regclass::text AS relation, a.attname::text AS attribute
FROM pg_catalog.pg_rewrite AS w
JOIN pg_catalog.pg_depend AS d
    ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> w.ev_class
LEFT JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND d.refobjsubid <> 0
WHERE w.ev_class = %(view)s::regclass
ORDER BY relation, d.refobjsubid
