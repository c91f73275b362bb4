-- Reads: what views read, and which views read a table, a column or a segment.


-- name: view_reads
-- Part of several statements: which view reads which relation, and which of its columns. Number 0
-- means the relation as a whole.
view_reads (view, relation, number) AS (
    SELECT w.ev_class, d.refobjid, d.refobjsubid
    FROM pg_catalog.pg_rewrite AS w
    JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
        AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> w.ev_class
)


-- name: select_reads
-- Runs before several segments are refreshed or deleted, and when a definition is saved. Locks
-- nothing. Returns which segment reads which, through any chain of views, no matter who created
-- them.
WITH RECURSIVE
-- part: view_reads
,
edge AS (
    SELECT DISTINCT view, relation FROM view_reads
),
own AS (
    SELECT oid, relname, relnamespace
    FROM pg_catalog.pg_class
    WHERE relkind IN ('v', 'm')
        AND relnamespace IN (to_regnamespace(%(schema)s), to_regnamespace(%(live_schema)s))
),
closure (segment, relation, ends) AS (
    SELECT relname, oid, false FROM own WHERE relnamespace = to_regnamespace(%(live_schema)s)
    UNION
    SELECT c.segment, e.relation, e.relation IN (SELECT oid FROM own)
    FROM closure AS c
    JOIN edge AS e ON e.view = c.relation
    WHERE NOT c.ends
)
SELECT DISTINCT c.segment::text, own.relname::text AS reads
FROM closure AS c
JOIN own ON own.oid = c.relation
WHERE c.ends
ORDER BY 1, 2


-- name: select_direct_readers
-- Runs before a segment is renamed. Locks nothing. Returns the live views that read one of its
-- views directly, so that their definitions name it.
WITH
-- part: view_reads
SELECT DISTINCT c.relname::text
FROM view_reads AS r
JOIN pg_catalog.pg_class AS c ON c.oid = r.view AND c.relnamespace = to_regnamespace(%(live_schema)s)
WHERE r.relation = ANY(%(oids)s::oid[])


-- name: select_quoted_name
-- Runs when a definition is rewritten. Locks nothing. Returns a name as it is written in SQL, in
-- quotes if it needs them.
SELECT pg_catalog.quote_ident(%(name)s)


-- name: select_using
-- Runs for find_segments. Locks nothing. Returns the views that read a table, or one of its
-- columns, and the views that read those, through any chain of views.
WITH RECURSIVE
-- part: view_reads
,
reader (view) AS (
    SELECT r.view FROM view_reads AS r
    WHERE r.relation = %(table)s::regclass
        AND (%(column)s::text IS NULL OR r.number = (
            SELECT a.attnum FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = %(table)s::regclass AND a.attname = %(column)s AND NOT a.attisdropped
        ))
    UNION
    SELECT r.view FROM reader JOIN view_reads AS r ON r.relation = reader.view
)
SELECT
    c.relname::text AS name,
    c.oid::regclass::text AS view,
    n.nspname = %(live_schema)s AS live,
    n.nspname IN (%(schema)s, %(live_schema)s) AS own,
    pg_catalog.pg_get_userbyid(c.relowner)::text AS owner
FROM reader
JOIN pg_catalog.pg_class AS c ON c.oid = reader.view
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY own DESC, name


-- name: select_read_columns
-- Runs for a preview. Locks nothing. Returns the tables and views that a view reads directly, with
-- their columns.
WITH
-- part: view_reads
SELECT r.relation::regclass::text AS relation, a.attname::text AS attribute
FROM view_reads AS r
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.relation AND a.attnum = r.number AND r.number <> 0
WHERE r.view = %(view)s::regclass
ORDER BY relation, r.number


-- name: select_dependencies
-- Runs before live views are detached. Locks nothing. Returns the tables and columns that each of
-- them reads directly.
WITH
-- part: view_reads
SELECT
    v.relname::text AS view,
    pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_object(
        'id', r.relation::bigint,
        'number', r.number,
        'relation', r.relation::regclass::text,
        'name', a.attname
    )) AS reads
FROM pg_catalog.pg_class AS v
JOIN view_reads AS r ON r.view = v.oid
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.relation AND a.attnum = r.number
WHERE v.relkind = 'v' AND v.relnamespace = to_regnamespace(%(live_schema)s)
GROUP BY v.relname


-- name: bound_rule
-- Part of the statements that compare what two views are bound to: their queries as Postgres stores
-- them, without what may differ between two views of one text that read the same. These are the
-- view itself (up to PostgreSQL 15), positions in the text, the names of a table's columns when the
-- view was created, and words such as 'yesterday', which Postgres has replaced with a time.
bound_rule (oid, view, tree) AS (
    SELECT w.oid, w.ev_class, pg_catalog.regexp_replace(
        pg_catalog.regexp_replace(
            pg_catalog.regexp_replace(
                pg_catalog.replace(w.ev_action::text, ':relid ' || w.ev_class || ' ', ':relid 0 '),
                ' :(?:\w*location|stmt_len) -?\d+', '', 'g'
            ),
            ':eref \{ALIAS :aliasname \S+ :colnames \((?:[^)\\]|\\.)*\)\} :rtekind 0 ', '', 'g'
        ),
        '(:consttype (?:1082|1083|1114|1115|1182|1183|1184|1185|1266|1270|39(?:08|09|10|11|12|13)) [^[{}]*)\[[^]]*\]', '\1', 'g'
    )
    FROM pg_catalog.pg_rewrite AS w
    WHERE w.ev_class IN (%(live)s::regclass, %(trial)s::regclass)
)


-- name: select_same_binding
-- Runs before members are recomputed, and for sync_segments --check. Locks nothing. Returns whether
-- two views are bound to the same objects in the same way. Mostly, their queries do not differ at
-- all, which is faster to find out.
WITH
-- part: bound_rule
SELECT count(DISTINCT ev_action::text) = 1 OR (SELECT count(DISTINCT tree) = 1 FROM bound_rule)
FROM pg_catalog.pg_rewrite
WHERE ev_class IN (%(live)s::regclass, %(trial)s::regclass)


-- name: select_binding
-- Runs before and after a definition is rewritten. Locks nothing. Returns a digest of what a view is
-- bound to.
WITH
-- part: bound_rule
SELECT pg_catalog.md5(tree) FROM bound_rule


-- name: select_bindings
-- Runs when two views of one text are not bound in the same way. Locks nothing. Returns for each,
-- the live view first: what it refers to in the order of its query, the labels of enums in it, what it
-- reads in words (a relation only if it reads no column of it), and its SQL with the current names.
WITH
-- part: bound_rule
SELECT
    (
        SELECT pg_catalog.string_agg(captures[1], ' ' ORDER BY place)
        FROM pg_catalog.regexp_matches(
            tree, ':(?:relid|varno|varattno|varlevelsup|[a-z]*funcid|opno|aggfnoid|winfnoid) (-?\d+)', 'g'
        ) WITH ORDINALITY AS m (captures, place)
    ) AS shape,
    ARRAY(
        SELECT DISTINCT captures[1] || ' ' || captures[2]
        FROM pg_catalog.regexp_matches(tree, ':consttype (\d+) [^[{}]*:constvalue \d+ \[ ([^]]*)\]', 'g') AS m (captures)
        JOIN pg_catalog.pg_type AS t ON t.oid = captures[1]::oid
        LEFT JOIN pg_catalog.pg_type AS element ON element.oid = t.typelem
        WHERE t.typtype = 'e' OR element.typtype = 'e'
        ORDER BY 1
    ) AS labels,
    ARRAY(
        SELECT DISTINCT pg_catalog.pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
        FROM pg_catalog.pg_depend AS d
        WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = bound_rule.oid AND d.refobjid <> bound_rule.view
            AND (d.refobjsubid <> 0 OR NOT EXISTS (
                SELECT FROM pg_catalog.pg_depend AS c
                WHERE c.classid = d.classid AND c.objid = d.objid AND c.refclassid = d.refclassid
                    AND c.refobjid = d.refobjid AND c.refobjsubid <> 0
            ))
        ORDER BY 1
    ) AS objects,
    pg_catalog.pg_get_viewdef(view, true) AS definition
FROM bound_rule
ORDER BY view <> %(live)s::regclass


-- name: select_definition
-- Runs when a definition no longer compiles. Locks nothing. Returns the SQL of its live view, with
-- the current names of tables and columns.
SELECT pg_catalog.pg_get_viewdef(%(view)s::regclass, true)


-- name: select_table_and_column
-- Runs for find_segments. Locks nothing. Resolves a.b as table b of schema a if there is one,
-- otherwise as column b of table a.
WITH argument AS (SELECT pg_catalog.parse_ident(%(what)s) AS parts),
candidate (relation, attribute, preference) AS (
    SELECT parts, NULL, 1 FROM argument WHERE cardinality(parts) <= 2
    UNION ALL
    SELECT parts[:cardinality(parts) - 1], parts[cardinality(parts)], 2
    FROM argument WHERE cardinality(parts) BETWEEN 2 AND 3
)
SELECT c.oid::regclass::text AS relation, candidate.attribute
FROM candidate
JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass((
    SELECT pg_catalog.string_agg(pg_catalog.quote_ident(part), '.' ORDER BY place)
    FROM unnest(candidate.relation) WITH ORDINALITY AS parts (part, place)
))
WHERE candidate.attribute IS NULL OR EXISTS (
    SELECT FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attname = candidate.attribute AND a.attnum > 0
        AND NOT a.attisdropped
)
ORDER BY candidate.preference
LIMIT 1


-- name: select_changes
-- Runs when the definition of a detached segment no longer compiles. Locks nothing. Returns what
-- became of the tables and columns that its live view used to read.
WITH old AS (
    SELECT * FROM pg_catalog.jsonb_to_recordset(%(reads)s::jsonb)
        AS reference (id bigint, number integer, relation text, name text)
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
