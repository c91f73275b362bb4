-- Runs at the end of drop_segments; locks nothing. What is in a schema, so that it is not dropped, but for
-- what goes along with something else in there.
SELECT pg_catalog.pg_describe_object(d.classid, d.objid, 0) AS what
FROM pg_catalog.pg_depend AS d
WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = to_regnamespace(%(schema)s)::oid
    AND d.deptype = 'n'
ORDER BY 1
