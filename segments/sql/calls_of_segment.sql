-- Part of what asks which functions a live view calls, itself or through the other views that it reads. Those
-- that do the work of an aggregate go by its name.
called AS (
    SELECT DISTINCT found[1]::oid AS oid
    FROM rule
    CROSS JOIN pg_catalog.regexp_matches(
        tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid|hashfuncid|negfuncid|startInRangeFunc|endInRangeFunc) (\d+)', 'g'
    ) AS found
),
function (oid, name) AS (
    SELECT oid, oid FROM called
    UNION ALL
    SELECT step, called.oid
    FROM called
    JOIN pg_catalog.pg_aggregate AS a ON a.aggfnoid = called.oid
    CROSS JOIN unnest(ARRAY[a.aggtransfn::oid, a.aggfinalfn::oid]) AS step
)
