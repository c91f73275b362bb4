-- Part of what asks what a live view reads, directly and through other views, partitions included. OFFSET 0
-- keeps each look-up one by index, whatever the size of the catalog.
relation (oid, kind) AS (
    SELECT c.oid, c.relkind FROM pg_catalog.pg_class AS c WHERE c.oid = {live}::regclass
    UNION
    SELECT reads.oid, c.relkind
    FROM relation
    CROSS JOIN LATERAL (
        SELECT d.refobjid AS oid
        FROM pg_catalog.pg_rewrite AS w
        JOIN pg_catalog.pg_depend AS d
            ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
            AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> w.ev_class
        WHERE w.ev_class = relation.oid AND relation.kind = 'v'
        UNION ALL
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i
        WHERE i.inhparent = relation.oid AND relation.kind IN ('r', 'p')
    ) AS reads
    CROSS JOIN LATERAL (SELECT relkind FROM pg_catalog.pg_class WHERE oid = reads.oid OFFSET 0) AS c
),
rule AS (
    SELECT w.oid, w.xmin, w.ctid, w.ev_action::text AS tree
    FROM relation
    CROSS JOIN LATERAL (
        SELECT * FROM (SELECT oid, xmin, ctid, ev_action FROM pg_catalog.pg_rewrite WHERE ev_class = relation.oid) AS r OFFSET 0
    ) AS w
    WHERE relation.kind = 'v'
)
