-- Runs at sync and before a segment's views are created; locks nothing. What should be there before any
-- segment is, and is not.
SELECT wanted.name
FROM (
    VALUES
        (%(schema)s || '.membership', to_regclass(%(schema)s || '.membership')::oid),
        (%(schema)s || '.catalog', to_regclass(%(schema)s || '.catalog')::oid),
        (%(schema)s || '.is_member(text, anyelement)',
            to_regprocedure(%(schema)s || '.is_member(text, anyelement)')::oid),
        (%(live_schema)s || '.is_member(text, anyelement)',
            to_regprocedure(%(live_schema)s || '.is_member(text, anyelement)')::oid),
        (%(live_schema)s || '.members(text, anyelement)',
            to_regprocedure(%(live_schema)s || '.members(text, anyelement)')::oid),
        (%(schema)s || '.trace()',
            (SELECT p.oid FROM pg_catalog.pg_proc AS p
            WHERE p.proname = 'trace' AND p.pronamespace = to_regnamespace(%(schema)s) LIMIT 1)),
        (%(schema)s || '.unchanged_until()',
            (SELECT p.oid FROM pg_catalog.pg_proc AS p
            WHERE p.proname = 'unchanged_until' AND p.pronamespace = to_regnamespace(%(schema)s) LIMIT 1)),
        (%(schema)s || '.detached(text, anyelement)',
            to_regprocedure(%(schema)s || '.detached(text, anyelement)')::oid),
        (%(live_schema)s::text, to_regnamespace(%(live_schema)s)::oid)
) AS wanted (name, oid)
WHERE wanted.oid IS NULL
