"""Hostile definitions, and the required outcome of each.

The outcome is `REFUSED` if the gate refuses it, a SQLSTATE if Postgres stops it, or the names of
the members if it is harmless; there are several if servers differ. A definition that the gate
refuses for a function of Postgres is tried again through a function of the project. The gate
accepts that, so its outcome depends on Postgres.
"""

import re
from dataclasses import dataclass, replace
from itertools import cycle

from tests.conftest import USERS
from tests.gate.positions import ONE, POSITIONS, REFUSED_CALLS

REFUSED = "refused"
DENIED = "42501"
STOPPED = "57014"
EVERYONE = tuple(f"u{n}" for n in range(10))
EMPTY_WARNING = ()
NO_XML = "0A000"
"""The SQLSTATE of a server that was built without libxml."""


@dataclass(frozen=True)
class Hostile:
    """A definition.

    Attributes:
        sql: Its text.
        comes: Its possible outcomes.
        live: Its possible outcomes in a live read, if they differ.
    """

    sql: str
    comes: tuple
    live: tuple = ()

    @property
    def comes_live(self):
        """The possible outcomes of a live read."""
        return self.live or self.comes


def _is(*comes, live=()):
    return lambda sql: Hostile(sql, comes, live)


def _where(condition):
    return f"SELECT id FROM {USERS} WHERE {condition}"


refused, denied, stopped = _is(REFUSED), _is(DENIED), _is(STOPPED)
everyone, nobody = _is(EVERYONE), _is(EMPTY_WARNING)

SECRET = "(SELECT string_agg(secret, ',') FROM vault)"

STATEMENTS = {
    "two statements": refused(f"{ONE}; DROP TABLE vault"),
    "two selects": refused(f"{ONE}; {ONE}"),
    "an empty one before": refused(f";{ONE}"),
    "a semicolon": everyone(f"{ONE};"),
    "a semicolon and a comment": everyone(f"{ONE}; -- DROP TABLE vault"),
    "a semicolon that opens a comment": refused(f"{ONE}; /* DROP TABLE vault"),
    "a semicolon and a break-out": refused(f"{ONE}; -- \n) AS definition; DROP TABLE vault --"),
    "a semicolon in a comment": everyone(f"{ONE} -- ; DROP TABLE vault"),
    "a semicolon in a string": everyone(_where("'; DROP TABLE vault' <> ''")),
    "transaction control": refused("COMMIT"),
    "commit between": refused(f"{ONE}; COMMIT; DROP TABLE vault; BEGIN"),
    "rollback to": refused("ROLLBACK"),
    "insert": refused(f"INSERT INTO {USERS} (username) VALUES ('x') RETURNING id"),
    "update": refused(f"UPDATE {USERS} SET is_superuser = true RETURNING id"),
    "delete": refused("DELETE FROM vault RETURNING id"),
    "merge": refused(
        f"MERGE INTO vault v USING {USERS} u ON u.id = v.id WHEN MATCHED THEN DELETE"
    ),
    "cte insert": refused(f"WITH w AS (INSERT INTO vault VALUES (1) RETURNING id) {ONE}"),
    "cte update": refused(f"WITH w AS (UPDATE vault SET secret = '' RETURNING id) {ONE}"),
    "cte delete": refused("WITH w AS (DELETE FROM vault RETURNING id) SELECT id FROM w"),
    "cte merge": refused(
        f"WITH w AS (MERGE INTO vault v USING {USERS} u ON u.id = v.id "
        "WHEN MATCHED THEN DELETE RETURNING v.id) SELECT id FROM w"
    ),
    "nested cte": refused(
        "SELECT id FROM (WITH a AS (WITH b AS (DELETE FROM vault RETURNING id) "
        "SELECT id FROM b) SELECT id FROM a) q"
    ),
    "cte in a sublink": refused(
        _where("id IN (WITH w AS (DELETE FROM vault RETURNING id) SELECT id FROM w)")
    ),
    "select into": refused(f"SELECT id INTO stolen FROM {USERS}"),
    "select into temp": refused(f"SELECT id INTO TEMP stolen FROM {USERS}"),
    "copy to program": refused("COPY vault TO PROGRAM 'cat > /tmp/stolen'"),
    "copy from": refused("COPY vault FROM '/etc/passwd'"),
    "copy to stdout": refused("COPY vault TO STDOUT"),
    "do": refused("DO $$ BEGIN DELETE FROM vault; END $$"),
    "call": refused("CALL nothing()"),
    "explain": refused(f"EXPLAIN {ONE}"),
    "explain analyze": refused("EXPLAIN ANALYZE DELETE FROM vault"),
    "show": refused("SHOW ALL"),
    "set": refused("SET ROLE none"),
    "reset": refused("RESET ROLE"),
    "set session authorization": refused("SET SESSION AUTHORIZATION DEFAULT"),
    "discard": refused("DISCARD ALL"),
    "alter role": refused("ALTER ROLE CURRENT_USER SUPERUSER"),
    "alter system": refused("ALTER SYSTEM SET fsync = off"),
    "grant": refused("GRANT ALL ON vault TO PUBLIC"),
    "create function": refused(
        "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'"
    ),
    "prepare": refused(f"PREPARE p AS {ONE}"),
    "execute": refused("EXECUTE p"),
    "declare": refused(f"DECLARE c CURSOR FOR {ONE}"),
    "fetch": refused("FETCH ALL FROM c"),
    "listen": refused("LISTEN segments"),
    "notify": refused("NOTIFY segments, 'x'"),
    "lock": refused("LOCK TABLE vault"),
    "vacuum": refused("VACUUM"),
    "refresh": refused("REFRESH MATERIALIZED VIEW segments.vip"),
    "a parameter": refused(_where("id = $1")),
    "a parameter of a cast": refused("SELECT $1::bigint AS id"),
}

BREAK_OUTS = {
    "balanced": refused(
        "select 1 as id) as definition) union all select 999999999::bigint "
        "where 1 in (select definition.id from (select 1 as id"
    ),
    "closing alone": refused(f"{ONE}) AS definition) --"),
    "closing and a comment": refused("SELECT 1 AS id) AS definition /*"),
    "statement after closing": refused("SELECT 1 AS id)) ; DROP TABLE vault; SELECT ((1"),
    "opening in a comment": refused("SELECT 1 AS id /* ( */ ) AS d UNION (SELECT 1 /* ) */"),
    "in dollar quotes": everyone(_where("$x$) AS definition); DROP TABLE vault --$x$ <> ''")),
    "dollar quotes left open": refused(_where("$x$ <> ''")),
    "nested dollar quotes": everyone(_where("$a$ $b$ ' $b$ -- $a$ <> ''")),
    "a dollar quote in a name": refused("SELECT 1 AS id$$) AS definition --$$"),
    "trailing line comment": everyone(f"{ONE} --"),
    "line comment ended by a carriage return": refused(f"{ONE} --\r) AS definition; SELECT (1"),
    "nested block comments": everyone(f"{ONE} /* a /* b */ ) */"),
    "block comments that look nested": refused(f"{ONE} /* a /* b */ )"),
    "unterminated comment": refused(f"{ONE} /*"),
    "comment begun in a string": everyone(_where("'/*' <> '*/'")),
    "unterminated string": refused(_where("username = 'u0")),
    "unterminated identifier": refused('SELECT 1 AS "id'),
    "escape string": everyone(_where(r"E'\') AS definition' <> ''")),
    "backslash in a plain string": refused(_where(r"'\') AS definition --' <> ''")),
    "unicode string": everyone(_where(r"U&'\0027\0029' <> ''")),
    "unicode string with its own escape": everyone(
        _where("U&'!0027) AS definition' UESCAPE '!' <> ''")
    ),
    "unicode identifier": refused(
        r'SELECT 1 AS U&"id\0029 AS definition"' + f" FROM {USERS} a, b"
    ),
    "unicode identifier of a column": everyone(rf'SELECT U&"\0069d" FROM {USERS}'),
    "a column that is a break-out": nobody(
        'SELECT -1 AS "id"" FROM (SELECT 1) AS definition) UNION SELECT 1 --"'
    ),
    "a column that is a placeholder": nobody('SELECT -1 AS "{definition}%s%(x)s"'),
    "a NUL": refused(f"{ONE} \0"),
    "a NUL in a string": refused(_where("'\0' <> ''")),
    "a lone surrogate": refused(_where("'\udc80' <> ''")),
    "a NUL by an escape": refused(_where(r"E'\000' <> ''")),
    "a wrong byte by an escape": refused(_where(r"E'\xff' <> ''")),
    "full-width parentheses": refused(f"{ONE} \uff09 AS definition"),
    "a no-break space": everyone(f"SELECT\u00a0id\u00a0FROM {USERS}"),
    "right-to-left marks": everyone(f"{ONE} -- \u202e) AS definition"),
    "only parentheses": refused("()"),
    "parentheses around": everyone(f"((({ONE})))"),
    "unbalanced": refused(f"(({ONE})"),
    "deep parentheses": everyone("(" * 200 + ONE + ")" * 200),
    "parentheses beyond the stack": refused("(" * 200_000 + ONE + ")" * 200_000),
    "sums beyond the stack": refused("SELECT 1" + " + 1" * 200_000 + " AS id"),
    "the alias of the wrapper": everyone(f"SELECT definition.id FROM {USERS} AS definition"),
    "the users of the wrapper": refused("SELECT u.id"),
    "the wrapper's columns": refused("SELECT definition.id"),
}

READS = {
    "a table": denied("SELECT id FROM vault"),
    "a table by TABLE": denied("TABLE vault"),
    "a table in a function": denied(_where(f"{SECRET} <> ''")),
    "a table that is not needed": everyone(_where("true OR EXISTS (SELECT FROM vault)")),
    "a table behind a cte": denied("WITH v AS (SELECT * FROM vault) SELECT id FROM v LIMIT 0"),
    "a column": denied(_where("password LIKE 'hash%'")),
    "a column by the order": denied(f"SELECT id FROM {USERS} ORDER BY password LIMIT 1"),
    "a column by a join": denied(f"SELECT a.id FROM {USERS} a JOIN {USERS} b USING (password)"),
    "a column by a natural join": denied(f"SELECT id FROM {USERS} a NATURAL JOIN {USERS} b"),
    "a column of the whole row": denied(_where(f"row_to_json({USERS})::text LIKE '%hash%'")),
    "a column of the row as text": denied(f"SELECT a.id FROM {USERS} a WHERE a::text LIKE '%h%'"),
    "a column of the row not null": denied(f"SELECT a.id FROM {USERS} a WHERE a IS NOT NULL"),
    "all columns": denied(f"SELECT * FROM {USERS}"),
    "a system column": denied(_where("ctid IS NOT NULL")),
    "a sample": denied("SELECT id FROM vault TABLESAMPLE SYSTEM (100)"),
    "password hashes of roles": denied(
        _where("EXISTS (SELECT FROM pg_authid WHERE rolpassword <> '')")
    ),
    "pg_shadow": denied(_where("EXISTS (SELECT FROM pg_shadow)")),
    "pg_user_mapping": denied(_where("EXISTS (SELECT FROM pg_user_mapping)")),
    "pg_hba_file_rules": denied(_where("EXISTS (SELECT FROM pg_hba_file_rules)")),
    "pg_file_settings": denied(_where("EXISTS (SELECT FROM pg_file_settings)")),
    "pg_statistic": denied(_where("EXISTS (SELECT FROM pg_statistic)")),
    "pg_largeobject": denied(_where("EXISTS (SELECT FROM pg_largeobject)")),
    "statistics of a column": nobody(
        _where("EXISTS (SELECT FROM pg_stats WHERE attname IN ('password', 'secret'))")
    ),
    "queries of others": nobody(
        _where(
            "EXISTS (SELECT FROM pg_stat_activity WHERE query NOT LIKE '<insuff%' AND query <> '')"
        )
    ),
    "options of servers": nobody(
        _where("EXISTS (SELECT FROM pg_user_mappings WHERE umoptions IS NOT NULL)")
    ),
    "rows by a policy": _is(("u0", "u1", "u2", "u3", "u4"))("SELECT id FROM tenants"),
    "rows past a policy": _is(DENIED)(
        _where("set_config('row_security', 'off', true) <> '' AND false")
        + " UNION SELECT id FROM tenants WHERE set_config('role', 'none', true) <> ''"
    ),
    "the right to ask": nobody(_where("has_table_privilege('public.vault', 'SELECT')")),
    "the right to a column": nobody(
        _where(f"has_column_privilege('public.{USERS}', 'password', 'SELECT')")
    ),
    "an error that shows what was granted": _is("22P02")(
        "SELECT user_id FROM shop_order WHERE ('x' || amount)::int = 1"
    ),
    "an error that would show a secret": denied(_where(f"{SECRET}::point IS NULL")),
    "files": denied(_where("pg_read_file('/etc/passwd') <> ''")),
    "binary files": denied(_where("pg_read_binary_file('PG_VERSION') <> ''")),
    "folders": denied(_where("EXISTS (SELECT FROM pg_ls_dir('/'))")),
    "files of the log": refused(_where("EXISTS (SELECT FROM pg_ls_logdir())")),
    "a stat of a file": refused(_where("(pg_stat_file('PG_VERSION')).size > 0")),
    "an entity of XML": _is(EVERYONE, NO_XML, REFUSED)(
        _where(
            'xmlparse(document \'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
            "<r>&x;</r>')::text NOT LIKE '%root:%'"
        )
    ),
    "large objects": denied(_where("lo_get(424242) <> ''")),
    "large objects opened": denied(_where("lo_open(424242, 262144) >= 0")),
    "lo_export": denied(_where("lo_export(424242, '/tmp/stolen') > 0")),
    "query_to_xml": _is(DENIED, NO_XML)(
        _where("query_to_xml('SELECT secret FROM public.vault', true, true, '') IS NOT NULL")
    ),
    "table_to_xml": _is(DENIED, NO_XML)(
        _where("table_to_xml('public.vault', true, true, '') IS NOT NULL")
    ),
    "schema_to_xml": _is(EVERYONE, DENIED, NO_XML)(
        _where("schema_to_xml('public', true, true, '')::text NOT LIKE '%>4242<%'")
    ),
    "database_to_xml": _is(EVERYONE, DENIED, NO_XML, "54001")(
        _where("database_to_xml(true, true, '')::text NOT LIKE '%>4242<%'")
    ),
    "cursor_to_xml of none": _is("34000", NO_XML)(
        _where("cursor_to_xml('c', 1, true, true, '') IS NOT NULL")
    ),
    "ts_stat": refused(
        _where("EXISTS (SELECT FROM ts_stat('SELECT secret::tsvector FROM public.vault'))")
    ),
    "ts_rewrite": denied(
        _where(
            "ts_rewrite('a', 'SELECT secret::tsquery, secret::tsquery FROM public.vault') IS NULL"
        )
    ),
    "a setting of superusers": denied(_where("current_setting('data_directory') <> ''")),
    "log of errors": denied(_where("pg_current_logfile() <> ''")),
    "numbers of a sequence": denied(_where("(SELECT last_value FROM calls) > 0")),
    "the last number": _is(DENIED, "55000")(_where("currval('public.calls') > 0")),
}

WRITES = {
    "nextval": denied(_where("nextval('public.calls') > 0")),
    "nextval of a table": denied(_where("nextval('public.shop_order_id_seq') > 0")),
    "setval": denied(_where("setval('public.calls', 99) > 0")),
    "large objects": denied(_where("lo_put(424242, 0, 'x') IS NULL")),
    "large objects truncated": denied(_where("lo_open(424242, 131072) >= 0")),
    "large objects deleted": _is(DENIED)(_where("lo_unlink(424242) > 0")),
    "lo_import": denied(_where("lo_import('/etc/passwd') > 0")),
    "SQL by query_to_xml": _is(DENIED, NO_XML)(
        _where("query_to_xml('DELETE FROM public.vault RETURNING 1', true, true, '') IS NULL")
    ),
    "DDL by query_to_xml": _is(NO_XML)(
        _where(
            "query_to_xml(format('ALTER TABLE %I RENAME TO x', 'vault'), true, true, '') IS NULL"
        )
    ),
    "role by query_to_xml": _is(DENIED, NO_XML)(
        _where(
            "query_to_xml('SELECT set_config(''role'', ''none'', true)', true, true, '') IS NULL"
        )
    ),
    "role": denied(_where("set_config('role', 'none', false) <> ''")),
    "role for the transaction": denied(_where("set_config('role', 'none', true) <> ''")),
    "role of another": denied(_where("set_config('role', 'postgres', true) <> ''")),
    "role in a column": denied(f"SELECT id, set_config('role', 'none', true) FROM {USERS}"),
    "role in an order": denied(f"{ONE} ORDER BY set_config('role', 'none', true)"),
    "role in a limit": denied(f"{ONE} LIMIT length(set_config('role', 'none', true))"),
    "role in a cte": denied(
        "WITH r AS MATERIALIZED (SELECT set_config('role', 'none', true) r) "
        f"SELECT u.id FROM {USERS} u, r"
    ),
    "role from a table function": denied(
        f"SELECT u.id FROM {USERS} u, set_config('role', 'none', true)"
    ),
    "session authorization": denied(
        _where("set_config('session_authorization', 'postgres', true) <> ''")
    ),
    "session authorization by default": denied(
        _where("set_config('session_authorization', 'default', false) <> ''")
    ),
    "a setting of superusers": denied(_where("set_config('log_statement', 'none', false) <> ''")),
    "session_replication_role": denied(
        _where("set_config('session_replication_role', 'replica', false) <> ''")
    ),
    "search_path": everyone(_where("set_config('search_path', 'nowhere', false) <> ''")),
    "search_path for the transaction": everyone(
        _where("set_config('search_path', 'x', true) <> ''")
    ),
    "a setting of its own": everyone(_where("set_config('app.tenant', 'b', false) <> ''")),
    "statement_timeout": everyone(_where("set_config('statement_timeout', '0', false) <> ''")),
    "lock_timeout": everyone(_where("set_config('lock_timeout', '0', true) <> ''")),
    "read only": _is(EVERYONE, "25006")(
        _where("set_config('transaction_read_only', 'on', false) <> ''")
    ),
    "isolation": _is("25001")(
        _where("set_config('transaction_isolation', 'serializable', true) <> ''")
    ),
    "application_name": everyone(_where("set_config('application_name', 'x', false) <> ''")),
    "client_encoding": everyone(_where("set_config('client_encoding', 'LATIN1', false) <> ''")),
    "client_encoding and an error": _is("22012")(
        _where("set_config('client_encoding', 'LATIN1', false) <> '' AND 1 / (id - id) = 1")
    ),
    "backslashes in strings": everyone(
        _where("set_config('standard_conforming_strings', 'off', false) <> ''")
    ),
    "terminate": denied(_where("pg_terminate_backend(pg_backend_pid())")),
    "cancel": denied(_where("pg_cancel_backend(pg_backend_pid())")),
    "terminate others": denied(
        _where("(SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity)")
    ),
    "reload": denied(_where("pg_reload_conf()")),
    "statistics": denied(_where("pg_stat_reset() IS NULL")),
    "a replication slot": refused(
        _where("(pg_create_physical_replication_slot('x')).slot_name <> ''")
    ),
    "switching WAL": denied(_where("pg_switch_wal() IS NOT NULL")),
}

EXHAUSTION = {
    "sleep": stopped(f"SELECT id FROM {USERS} CROSS JOIN pg_sleep(60)"),
    "sleep without a timeout": stopped(
        f"SELECT u.id FROM {USERS} u CROSS JOIN LATERAL (SELECT "
        "set_config('statement_timeout', '0', false), pg_sleep(60) WHERE u.id > 0) s"
    ),
    # A plan that stops at the first match of each user ends, and is right.
    "recursion": _is(STOPPED, EVERYONE)(
        "WITH RECURSIVE n AS (SELECT 1::bigint AS id UNION ALL SELECT id + 1 FROM n) "
        "SELECT id FROM n"
    ),
    "cross joins": stopped(
        "SELECT count(*) AS id FROM generate_series(1, 100000) a, generate_series(1, 100000) b"
    ),
    "temporary files": stopped(
        "SELECT max(a) AS id FROM (SELECT a, b FROM generate_series(1, 100000) a, "
        "generate_series(1, 100000) b ORDER BY b, a OFFSET 1) q"
    ),
    "a regular expression": _is(STOPPED, "2201B", "54000", EVERYONE, EMPTY_WARNING)(
        _where("repeat('a', 40) ~ '^((((a*)*)*)*)*b$'")
    ),
    "a factorial": _is(STOPPED, "22003")(_where("factorial(id::int * 0 + 30000) > 0")),
    "a string beyond memory": _is("54000", "53200")(_where("repeat('x', 2000000000) <> ''")),
    "live alone": Hostile(
        _where(
            "CASE WHEN current_query() LIKE '%MATERIALIZED%' THEN true "
            "ELSE pg_sleep(60) IS NOT NULL END"
        ),
        (EVERYONE,),
        (STOPPED,),
    ),
    "itself, hidden in a function": Hostile(
        _where("segments_live.is_member('vip', id)"),
        (STOPPED, "54001", EVERYONE),
        (STOPPED, "54001"),
    ),
}

LIVE_ALONE = {
    name: Hostile(
        _where(f"CASE WHEN current_query() LIKE '%MATERIALIZED%' THEN true ELSE {condition} END"),
        (EVERYONE,),
        live,
    )
    for name, condition, live in (
        ("live role", "set_config('role', 'none', true) <> ''", (DENIED,)),
        ("live session", "set_config('session_authorization', 'default', true) <> ''", (DENIED,)),
        ("live search_path", "set_config('search_path', 'x', false) <> ''", (EVERYONE,)),
        ("live large object", "lo_create(0) > 0", (EVERYONE,)),
        ("live notice", "pg_notify('segments', 'x') IS NOT NULL", (EVERYONE,)),
        ("live lock", "pg_try_advisory_xact_lock(4242)", (EVERYONE,)),
        ("live nextval", "nextval('public.calls') > 0", (DENIED,)),
        ("live division", "1 / (id - id) = 1", ("22012",)),
    )
}

ROW_LOCKS = {
    name: refused(sql)
    for name, sql in {
        "of the whole": f"{ONE} FOR UPDATE",
        "for a key": f"{ONE} FOR KEY SHARE",
        "without waiting": f"{ONE} FOR NO KEY UPDATE SKIP LOCKED",
        "of one table": f"SELECT u.id FROM {USERS} u, shop_order o FOR SHARE OF u NOWAIT",
        "in a query": _where("id IN (SELECT user_id FROM shop_order FOR UPDATE)"),
        "in a cte": f"WITH q AS (SELECT id FROM {USERS} FOR UPDATE) SELECT id FROM q",
        "in an exists": _where("EXISTS (SELECT FROM shop_order FOR SHARE)"),
        "of a query": f"SELECT id FROM (SELECT id FROM {USERS}) q FOR UPDATE",
        "in a branch": f"{ONE} UNION ALL (SELECT user_id FROM shop_order FOR UPDATE)",
    }.items()
}

CALLS = {
    **{name: refused(_where(f"{call} = 1")) for name, call in REFUSED_CALLS.items()},
    "an operator of the project": refused(_where("OPERATOR(public.@#@) id")),
    "a cast of the project": refused(_where("username::oid > 0")),
    "a name of one's own that looks like one": everyone(
        f'SELECT id, id AS ":funcid 2880", id AS ":hasForUpdate true" FROM {USERS}'
    ),
    "chance and the clock": everyone(
        _where("random() < 2 AND clock_timestamp() > now() AND gen_random_uuid() IS NOT NULL")
    ),
    # The remaining ones call functions of the project.
    "an aggregate of the project": denied(
        f"SELECT max(id) AS id FROM {USERS} HAVING own_rewrite("
        "'SELECT secret::tsquery, secret::tsquery FROM public.vault') IS NULL"
    ),
    "a default of the project": everyone(_where("own_default() <> ''")),
    "a domain of the project": everyone(_where("'x'::own_domain <> ''")),
    "a view of the project": everyone(_where("EXISTS (SELECT FROM own_view)")),
    "LISTEN by the project": Hostile(_where("own_listen()"), (DENIED,), (EVERYONE,)),
}

OWN = {
    "set_config": ("text, text, boolean", "text"),
    "current_query": ("", "text"),
    "nextval": ("regclass", "bigint"),
    "setval": ("regclass, bigint", "bigint"),
    "currval": ("regclass", "bigint"),
    "lo_get": ("oid", "bytea"),
    "lo_open": ("oid, integer", "integer"),
    "lo_export": ("oid, text", "integer"),
    "lo_put": ("oid, bigint, bytea", "void"),
    "lo_unlink": ("oid", "integer"),
    "lo_import": ("text", "oid"),
    "lo_create": ("oid", "oid"),
    "pg_read_file": ("text", "text"),
    "pg_read_binary_file": ("text", "bytea"),
    "pg_ls_dir": ("text", "SETOF text"),
    "pg_current_logfile": ("", "text"),
    "query_to_xml": ("text, boolean, boolean, text", "xml"),
    "table_to_xml": ("regclass, boolean, boolean, text", "xml"),
    "schema_to_xml": ("name, boolean, boolean, text", "xml"),
    "database_to_xml": ("boolean, boolean, text", "xml"),
    "cursor_to_xml": ("refcursor, integer, boolean, boolean, text", "xml"),
    "ts_rewrite": ("tsquery, text", "tsquery"),
    "pg_terminate_backend": ("integer", "boolean"),
    "pg_cancel_backend": ("integer", "boolean"),
    "pg_reload_conf": ("", "boolean"),
    "pg_stat_reset": ("", "void"),
    "pg_switch_wal": ("", "pg_lsn"),
    "pg_notify": ("text, text", "void"),
    "pg_try_advisory_lock": ("bigint", "boolean"),
    "pg_try_advisory_xact_lock": ("bigint", "boolean"),
    "segments_live.is_member": ("text, bigint", "boolean"),
}
"""Functions that the gate refuses, and that functions of the project call."""

CALL = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, OWN))})\(")


def own(sql):
    """Return a text that calls the refused functions through functions of the project."""
    return CALL.sub(lambda call: f"public.own_{call[1].replace('.', '_')}(", sql)


def _own_function(name, arguments, returns):
    """Return the statement that creates a function of the project around another one."""
    passed = ", ".join(f"${n}" for n in range(1, len(arguments.split(", ")) + 1) if arguments)
    return (
        f"CREATE FUNCTION public.own_{name.replace('.', '_')}({arguments}) RETURNS {returns} "
        f"LANGUAGE sql AS 'SELECT {name}({passed})'"
    )


OBJECTS = [
    *(_own_function(name, *declared) for name, declared in OWN.items()),
    "CREATE OPERATOR public.@#@ (FUNCTION = pg_try_advisory_lock, RIGHTARG = bigint)",
    "CREATE CAST (varchar AS oid) WITH FUNCTION lo_import(text)",
    "CREATE AGGREGATE own_rewrite(text) (SFUNC = ts_rewrite, STYPE = tsquery, INITCOND = 'a')",
    "CREATE FUNCTION own_default(text DEFAULT set_config('app.tenant', 'b', false)) "
    "RETURNS text LANGUAGE sql AS 'SELECT $1'",
    "CREATE DOMAIN own_domain AS text CHECK (set_config('app.tenant', VALUE, false) <> '')",
    "CREATE VIEW own_view AS SELECT set_config('app.tenant', 'b', false)",
    "GRANT SELECT ON own_view TO PUBLIC",
    "CREATE FUNCTION own_listen() RETURNS boolean LANGUAGE plpgsql AS "
    "'BEGIN LISTEN segments; RETURN true; END'",
]
"""Statements that create objects which a project may have."""


def _with_own(part):
    """Yield the definitions; those with refused calls also through functions of the project."""
    for name, hostile in part.items():
        if not CALL.search(hostile.sql) or hostile.comes == (REFUSED,):
            yield name, hostile
            continue
        yield name, refused(hostile.sql)
        yield f"{name}, by the project", replace(hostile, sql=own(hostile.sql))


CORPUS = {
    f"{group}: {name}": hostile
    for group, part in {
        "statement": STATEMENTS,
        "break-out": BREAK_OUTS,
        "read": READS,
        "write": WRITES,
        "exhaustion": EXHAUSTION,
        "live": LIVE_ALONE,
        "row lock": ROW_LOCKS,
        "call": CALLS,
    }.items()
    for name, hostile in _with_own(part)
} | {
    name: refused(sql.replace("{call}", call))
    for (name, sql), call in zip(POSITIONS.items(), cycle(REFUSED_CALLS.values()))
}
