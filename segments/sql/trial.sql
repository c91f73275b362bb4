-- Trials: views that validate, preview or price a definition, and are always rolled back.


-- name: create_trial_view
-- Runs when a definition is validated, previewed or priced, in a transaction that is rolled back.
-- Evaluates nothing yet.
CREATE MATERIALIZED VIEW {view} AS
{definition}
WITH NO DATA


-- name: populate_trial_view
-- Runs when a definition is validated, previewed or priced, in a transaction that is rolled back.
-- Evaluates it once, as the views' owner and in Postgres' security-restricted operation, like a
-- refresh.
REFRESH MATERIALIZED VIEW {view}


-- name: create_planner
-- Runs when a definition is priced, in a savepoint that is rolled back. Locks nothing. The
-- function makes EXPLAIN available to a materialized view: planning calls the stable functions of
-- a definition, and there they run as the views' owner and in Postgres' security-restricted
-- operation.
CREATE FUNCTION {function}() RETURNS text LANGUAGE plpgsql AS $body$
DECLARE
    plan json;
BEGIN
    EXECUTE {explain} INTO plan;
    RETURN plan;
END
$body$


-- name: explain_view
-- Part of the function that create_planner creates.
EXPLAIN (FORMAT JSON) TABLE {view}


-- name: call_planner
-- Part of the view that create_trial_view creates to price a definition.
SELECT {function}() AS plan


-- name: select_plan
-- Runs when a definition is priced. Takes AccessShare on the view that holds its plan.
SELECT plan FROM {view}


-- name: select_sample
-- Runs for a preview. Takes AccessShare on the trial view.
SELECT user_id FROM {view} ORDER BY user_id LIMIT %(limit)s


-- name: compare_members
-- Runs for a preview of a saved segment. Takes AccessShare on the trial view and on the members.
-- Returns how many members there are, how many would enter and leave, and the first of each.
WITH change AS MATERIALIZED (
    SELECT t.user_id AS entering, m.user_id AS leaving
    FROM {view} AS t
    FULL JOIN {members} AS m ON m.user_id = t.user_id
    WHERE t.user_id IS NULL OR m.user_id IS NULL
)
SELECT
    (SELECT count(*) FROM {members}) AS present,
    (SELECT count(entering) FROM change) AS entering,
    (SELECT count(leaving) FROM change) AS leaving,
    ARRAY(SELECT entering FROM change WHERE entering IS NOT NULL ORDER BY 1 LIMIT %(limit)s) AS first_entering,
    ARRAY(SELECT leaving FROM change WHERE leaving IS NOT NULL ORDER BY 1 LIMIT %(limit)s) AS first_leaving


-- name: copy_moving
-- Runs when all users who would enter or leave are downloaded. Takes AccessShare on the trial view
-- and on the members. Streams the keys in the form that copy_incoming_ids takes.
COPY (
    SELECT NULL::bigint AS line, r.user_id FROM {rows} AS r
    WHERE NOT EXISTS (SELECT FROM {others} AS o WHERE o.user_id = r.user_id)
) TO STDOUT


-- name: set_statement_timeout
-- Runs before a preview evaluates a definition. Locks nothing. The timeout lasts until the preview
-- is rolled back.
SELECT pg_catalog.set_config('statement_timeout', %(milliseconds)s, true)


-- name: describe_view
-- Parsed but never run, so that Postgres finds a view that reads itself.
TABLE {view}


-- name: select_whole_tables
-- Runs for a preview. Locks nothing. Returns the tables of which a definition selects all columns,
-- if they have two or more.
SELECT a.attrelid::regclass::text
FROM pg_catalog.pg_attribute AS a
LEFT JOIN (
    SELECT DISTINCT * FROM unnest(%(tables)s::oid[], %(numbers)s::integer[]) AS s (relation, number)
) AS selected ON selected.relation = a.attrelid AND selected.number = a.attnum
WHERE a.attrelid = ANY(%(tables)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY a.attrelid
HAVING count(*) > 1 AND count(*) = count(selected.number)
ORDER BY 1


-- name: select_opaque_functions
-- Runs for a preview. Locks nothing. Returns the functions that a live view calls, directly or
-- through other views, and whose bodies hide what they read; and the volatile functions of
-- Postgres.
WITH RECURSIVE {reads},
{calls},
opaque AS (
    SELECT function.name, p.oid < 16384 AND p.proname NOT LIKE '%%\_to\_xml%%' AS of_postgres
    FROM function
    JOIN pg_catalog.pg_proc AS p ON p.oid = function.oid
    JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
    WHERE CASE
        WHEN p.oid < 16384 THEN p.provolatile = 'v' OR p.proname LIKE '%%\_to\_xml%%'
        -- Immutable functions in C belong to extensions, and read no tables.
        ELSE l.lanname NOT IN ('c', 'internal') OR p.provolatile <> 'i'
    END
)
-- Postgres adds the schema to names that several functions have.
SELECT pg_catalog.regexp_replace(name::regproc::text, '^pg_catalog\.', '') AS name, bool_and(of_postgres) AS of_postgres
FROM opaque
GROUP BY 1
ORDER BY 1
