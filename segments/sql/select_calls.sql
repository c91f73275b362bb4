-- Runs when a view was made of a definition, before anything of that is evaluated; locks nothing. What its query
-- does besides reading, by the query as Postgres keeps it: each function and operator that is written in the
-- definition, and none of those in the views that it reads. In there, spaces in names are escaped.
WITH rule AS MATERIALIZED (
    SELECT ev_action::text AS tree FROM pg_catalog.pg_rewrite WHERE ev_class = %(view)s::regclass
),
called AS (
    SELECT DISTINCT found[1]::oid AS oid
    FROM rule
    CROSS JOIN pg_catalog.regexp_matches(tree, ':[a-z]*(?:funcid|fnoid) (\d+)', 'g') AS found
)
SELECT 'locks' AS what, NULL AS name
FROM rule
WHERE tree LIKE '%%:hasForUpdate true%%'
UNION ALL
SELECT 'segment', n.nspname || '.' || p.proname
FROM called
JOIN pg_catalog.pg_proc AS p ON p.oid = called.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname IN (%(schema)s, %(live_schema)s)
UNION ALL
SELECT
    CASE WHEN p.proname LIKE '%%\_to\_xml%%' OR p.proname IN ('ts_stat', 'ts_rewrite') THEN 'hides' ELSE 'leaves' END,
    p.proname
FROM called
JOIN pg_catalog.pg_proc AS p ON p.oid = called.oid
WHERE p.oid < 16384
    AND (p.provolatile = 'v' AND p.proname <> ALL (%(harmless)s) OR p.proname LIKE '%%\_to\_xml%%')
ORDER BY 1, 2
