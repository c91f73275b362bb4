"""Places in a definition where a function can be called, and calls to put there."""

from tests.conftest import USERS

ONE = f"SELECT id FROM {USERS}"
ORDERS = "SELECT user_id FROM shop_order"

EXPRESSIONS = {
    "an argument": "abs({call})",
    "a named argument": "make_interval(days => {call}) IS NOT NULL",
    "a variadic argument": "concat({call}, 'x')",
    "a list that is variadic": "concat(VARIADIC ARRAY[{call}])",
    "a cast": "CAST({call} AS text)",
    "a cast by a function": "int8({call})",
    "a cast of an array": "(ARRAY[{call}])::text[]",
    "a string of it": "({call})::text::bigint",
    "an operator": "1 + {call}",
    "an operator by its name": "1 OPERATOR(pg_catalog.+) {call}",
    "a comparison": "{call} BETWEEN SYMMETRIC 0 AND 2",
    "a comparison of rows": "({call}, 1) < (2, 2)",
    "a difference": "{call} IS DISTINCT FROM 3",
    "a nullif": "NULLIF({call}, 7)",
    "a coalesce": "COALESCE(NULL, {call})",
    "a greatest": "GREATEST(1, {call})",
    "a case": "CASE WHEN false THEN {call} ELSE 1 END",
    "a case by value": "CASE {call} WHEN 1 THEN 1 ELSE 2 END",
    "a list": "1 IN (1, {call})",
    "an any": "1 = ANY (ARRAY[{call}])",
    "an all of a query": "1 <= ALL (SELECT {call})",
    "a subscript": "(ARRAY[1, 2])[{call}]",
    "a slice": "(ARRAY[1, 2])[1:{call}]",
    "a subscript of json": "('[1, 2]'::jsonb)[{call}]",
    "a row": "ROW({call}, 2) IS NOT NULL",
    "a field of a row": "(SELECT q.f FROM (SELECT {call} AS f) AS q)",
    "an array of a query": "ARRAY(SELECT {call})",
    "a query": "(SELECT {call})",
    "an exists": "EXISTS (SELECT {call})",
    "a query in a query": "(SELECT (SELECT (SELECT {call})))",
    "a collation": "(({call})::text COLLATE \"C\")",
    "a time zone": "now() AT TIME ZONE make_interval(hours => {call})",
    "an extract": "EXTRACT(day FROM make_interval(days => {call}))",
    "a substring": "substring('abc' FROM {call} FOR 1)",
    "what is not reached": "(true OR {call} = 1)",
    "an array that is built": "ARRAY[[{call}], [2]]",
}  # fmt: skip
"""Expressions with a place for a call that returns an integer."""

DEFINITIONS = {
    "a column": f"SELECT id, {{call}} AS called FROM {USERS}",
    "the ids": f"SELECT id * ({{call}}) AS id FROM {USERS}",
    "a condition": f"{ONE} WHERE {{call}} = 1",
    "a condition with a comment": f"{ONE} WHERE /* ; */ {{call}} --\n = 1",
    "a condition that is not reached": f"{ONE} WHERE true OR {{call}} = 1",
    "a table": f"SELECT u.id FROM {USERS} u, generate_series(1, {{call}})",
    "a table with numbers": f"SELECT u.id FROM {USERS} u, "
    "generate_series(1, {call}) WITH ORDINALITY",
    "tables side by side": f"SELECT u.id FROM {USERS} u, "
    "ROWS FROM (generate_series(1, 2), generate_series(1, {call}))",
    "a lateral query": f"SELECT u.id FROM {USERS} u, LATERAL (SELECT {{call}} OFFSET 0) q",
    "a join": f"SELECT u.id FROM {USERS} u LEFT JOIN shop_order o ON {{call}} = 1",
    "a sample": f"{ONE} TABLESAMPLE SYSTEM (99 + {{call}})",
    "a sample that repeats": f"{ONE} TABLESAMPLE BERNOULLI (100) REPEATABLE ({{call}})",
    "values": "SELECT id FROM (VALUES (1::bigint), ({call})) AS v (id)",
    "values alone": "VALUES (1), ({call})",
    "an order": f"{ONE} ORDER BY {{call}}, id",
    "an order by an operator": f"{ONE} ORDER BY {{call}} USING <",
    "a limit": f"{ONE} ORDER BY id LIMIT {{call}}",
    "a fetch with ties": f"{ONE} ORDER BY id FETCH FIRST ({{call}}) ROWS WITH TIES",
    "an offset": f"{ONE} ORDER BY id OFFSET {{call}}",
    "a distinct on": f"SELECT DISTINCT ON (id, {{call}}) id FROM {USERS}",
    "a group": f"{ORDERS} GROUP BY user_id, {{call}}",
    "a grouping set": f"{ORDERS} GROUP BY GROUPING SETS ((user_id, {{call}}), (user_id))",
    "a rollup": f"{ORDERS} GROUP BY user_id, ROLLUP ({{call}})",
    "a having": f"{ORDERS} GROUP BY user_id HAVING count(*) > {{call}} - 1",
    "an aggregate": f"{ORDERS} GROUP BY user_id HAVING sum({{call}}) > 0",
    "an aggregate's filter": f"{ORDERS} GROUP BY user_id "
    "HAVING count(*) FILTER (WHERE {call} = 1) > 0",
    "an aggregate's order": f"{ORDERS} GROUP BY user_id "
    "HAVING array_agg(amount ORDER BY {call}) IS NOT NULL",
    "an ordered set": f"{ORDERS} GROUP BY user_id "
    "HAVING percentile_disc(0.5) WITHIN GROUP (ORDER BY {call}) > 0",
    "an ordered set's argument": f"{ORDERS} GROUP BY user_id "
    "HAVING percentile_disc(1.0 / {call}) WITHIN GROUP (ORDER BY amount) > 0",
    "a window's argument": f"SELECT id, sum({{call}}) OVER () FROM {USERS}",
    "a window's order": f"SELECT id, rank() OVER (ORDER BY {{call}}) FROM {USERS}",
    "a window's partition": f"SELECT id, rank() OVER w FROM {USERS} WINDOW w AS "
    "(PARTITION BY {call})",
    "a window's frame": f"SELECT id, count(*) OVER (ROWS BETWEEN {{call}} PRECEDING "
    f"AND CURRENT ROW) FROM {USERS}",
    "a window's filter": f"SELECT id, count(*) FILTER (WHERE {{call}} = 1) OVER () FROM {USERS}",
    "a window that is not used": f"{ONE} WINDOW w AS (ORDER BY {{call}})",
    "a cte": f"WITH q AS MATERIALIZED (SELECT {{call}} AS n) SELECT u.id FROM {USERS} u, q",
    "a cte that is not used": f"WITH q AS (SELECT {{call}} AS n) {ONE}",
    "a cte in a cte": f"WITH p AS (WITH q AS (SELECT {{call}} AS n) TABLE q) {ONE}",
    "a recursion": "WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL "
    "SELECT id + {call} FROM n WHERE id < 5) SELECT id FROM n",
    "a recursion's cycle": "WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL "
    "SELECT id + {call} FROM n WHERE id < 5) CYCLE id SET again USING path SELECT id FROM n",
    "a branch of a union": f"{ONE} UNION ALL SELECT {{call}}",
    "a branch of an except": f"{ONE} EXCEPT (SELECT {{call}} INTERSECT SELECT 2)",
    "a query in a table": f"SELECT id FROM (SELECT id, {{call}} FROM {USERS}) AS q",
}
"""Whole definitions with a place for a call that returns an integer."""

ONLY_SINCE_17 = {
    "a table of json": f"SELECT u.id FROM {USERS} u, "
    "JSON_TABLE(jsonb_build_array({call}), '$[*]' COLUMNS (n int PATH '$')) q",
    "a table of json by default": f"SELECT u.id FROM {USERS} u, "
    "JSON_TABLE('[1]'::jsonb, '$[*]' COLUMNS (n int PATH '$' DEFAULT {call} ON EMPTY)) q",
    "a variable of json": f"{ONE} WHERE "
    "JSON_VALUE('[1]'::jsonb, '$[*] ? (@ == $x)' PASSING {call} AS x RETURNING int) = 1",
    "an array of json": f"{ONE} WHERE JSON_ARRAY({{call}} RETURNING jsonb) IS NOT NULL",
    "an aggregate of json": f"{ORDERS} GROUP BY user_id "
    "HAVING JSON_ARRAYAGG({call} RETURNING jsonb) IS NOT NULL",
}

POSITIONS = {
    **{
        f"in {name}": f"SELECT id, {sql} AS called FROM {USERS}"
        for name, sql in EXPRESSIONS.items()
    },
    **{f"at {name}": sql for name, sql in DEFINITIONS.items()},
}

REFUSED_CALLS = {
    "set_config": "length(set_config('app.tenant', 'b', false))",
    "pg_try_advisory_lock": "pg_try_advisory_lock(4242)::int",
    "pg_try_advisory_xact_lock": '"pg_try_advisory_xact_lock"(42, 42)::int',
    "lo_create": "lo_create(0)::int8::int",
    "lo_from_bytea": "pg_catalog.lo_from_bytea(0, 'x')::text::int",
    "pg_notify": "length(pg_notify('segments', 'x')::text)",
    "pg_logical_emit_message": "length(pg_logical_emit_message(false, 'a', 'b')::text)",
    "nextval": "nextval('public.calls')::int",
    "setval": r'U&"set\0076al"' + "('public.calls', 99)::int",
    "pg_terminate_backend": "pg_terminate_backend(0)::int",
    "pg_read_file": "length(pg_read_file('/etc/passwd'))",
    "pg_export_snapshot": "length(pg_export_snapshot())",
    "setseed": "length(setseed(0.5)::text)",
    "ts_rewrite": "length(ts_rewrite('a', 'SELECT query, query FROM q')::text)",
    "query_to_xml": "length(query_to_xml('DELETE FROM public.vault', true, true, '')::text)",
    "schema_to_xml": "length(schema_to_xml('public', true, true, '')::text)",
    "segments.is_member": "segments.is_member('vip', 1)::int",
    "segments_live.is_member": "segments_live.is_member('vip', 1)::int",
}
"""Calls that return an integer and that the gate refuses, by function."""

ALLOWED_CALL = "length(repeat('x', 1))"
