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
