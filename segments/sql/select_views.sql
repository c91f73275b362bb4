-- Runs whenever views are compared with what they should be; locks nothing.
SELECT
    coalesce(members.relname, live.relname)::text AS name,
    live.oid AS live,
    pg_catalog.obj_description(live.oid, 'pg_class') AS live_comment,
    (
        SELECT pg_catalog.format_type(a.atttypid, a.atttypmod)
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = live.oid AND a.attname = 'user_id'
    ) AS key_type,
    members.oid AS members,
    pg_catalog.obj_description(members.oid, 'pg_class') AS members_comment,
    coalesce(members.relispopulated, false) AS populated,
    EXISTS (
        SELECT FROM pg_catalog.pg_index AS i
        WHERE i.indrelid = members.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
            AND i.indexprs IS NULL
    ) AS indexed,
    EXISTS (
        SELECT FROM pg_catalog.pg_rewrite AS w
        JOIN pg_catalog.pg_depend AS d
            ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
            AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = live.oid
        WHERE w.ev_class = members.oid
    ) AS paired
FROM (
    SELECT * FROM pg_catalog.pg_class
    WHERE relkind = 'm' AND relnamespace = to_regnamespace(%(schema)s)
        AND (%(name)s::text IS NULL OR relname = %(name)s)
) AS members
FULL JOIN (
    SELECT * FROM pg_catalog.pg_class
    WHERE relkind = 'v' AND relnamespace = to_regnamespace(%(live_schema)s)
        AND (%(name)s::text IS NULL OR relname = %(name)s)
) AS live ON live.relname = members.relname
ORDER BY 1
