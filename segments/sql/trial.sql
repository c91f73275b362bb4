-- name: create_trial_view
-- Runs when a definition is validated or planned, in a transaction that is rolled back; evaluates nothing yet.
CREATE MATERIALIZED VIEW {view} AS
{definition}
WITH NO DATA


-- name: populate_trial_view
-- Runs when a definition is validated or planned, in a transaction that is rolled back; evaluates it once, as
-- the views' owner and in Postgres' security-restricted operation, like a refresh.
REFRESH MATERIALIZED VIEW {view}


-- name: create_planner
-- Runs when a definition is priced, in a savepoint that is rolled back; locks nothing. EXPLAIN as a
-- function, for a materialized view to call: planning calls stable functions, and there they run as the
-- views' owner and in Postgres' security-restricted operation.
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
-- Part of the view that create_trial_view.sql makes to price a definition.
SELECT {function}() AS plan


-- name: select_plan
-- Runs when a definition is priced; AccessShare on the view that holds its plan.
SELECT plan FROM {view}


-- name: select_sample
-- Runs for a preview; AccessShare on the view that it has made.
SELECT user_id FROM {view} ORDER BY user_id LIMIT %(limit)s


-- name: set_statement_timeout
-- Runs before a preview evaluates a definition; locks nothing. Until the savepoint is rolled back.
SELECT pg_catalog.set_config('statement_timeout', %(milliseconds)s, true)


-- name: describe_view
-- Parsed, and never run, to let Postgres find a view that reads itself.
TABLE {view}


-- name: select_whole_tables
-- Runs for a preview; locks nothing. The tables of two columns or more of which all columns are given.
SELECT a.attrelid::regclass::text
FROM pg_catalog.pg_attribute AS a
LEFT JOIN (
    SELECT DISTINCT * FROM unnest(%(tables)s::oid[], %(numbers)s::integer[]) AS g (relation, number)
) AS given ON given.relation = a.attrelid AND given.number = a.attnum
WHERE a.attrelid = ANY(%(tables)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY a.attrelid
HAVING count(*) > 1 AND count(*) = count(given.number)
ORDER BY 1


-- name: select_opaque_functions
-- Runs for a preview; locks nothing. The functions that a live view calls, itself or through other
-- views, of which its query does not tell what they read, and those of Postgres that are volatile.
WITH RECURSIVE {reads},
{calls},
found AS (
    SELECT function.name, p.oid < 16384 AND p.proname NOT LIKE '%%\_to\_xml%%' AS of_postgres
    FROM function
    JOIN pg_catalog.pg_proc AS p ON p.oid = function.oid
    JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
    WHERE CASE
        WHEN p.oid < 16384 THEN p.provolatile = 'v' OR p.proname LIKE '%%\_to\_xml%%'
        -- Immutable ones in C are those of extensions, which look at no tables.
        ELSE l.lanname NOT IN ('c', 'internal') OR p.provolatile <> 'i'
    END
)
-- Postgres names the schema of those that there are several of.
SELECT pg_catalog.regexp_replace(name::regproc::text, '^pg_catalog\.', '') AS name, bool_and(of_postgres) AS of_postgres
FROM found
GROUP BY 1
ORDER BY 1
