"""The gate, with definitions that are composed at random from dangerous pieces."""

from contextlib import suppress
from dataclasses import dataclass, field

import django.db
import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segments.exceptions import SegmentDefinitionError, SegmentError, SegmentExecutionError
from segments.models import Segment
from segments.validation.checks import try_definition
from tests.conftest import USERS
from tests.gate.positions import ALLOWED_CALL, DEFINITIONS, EXPRESSIONS, ORDERS, REFUSED_CALLS

pytestmark = pytest.mark.django_db

FIXED = {
    "derandomize": True,
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}

VALID = [
    f"SELECT id FROM {USERS}",
    f"(SELECT id FROM {USERS})",
    "TABLE segments.vip",
    "SELECT user_id FROM shop_order WHERE amount > 100",
    "SELECT user_id, count(*) FROM shop_order GROUP BY user_id HAVING sum(amount) > 100",
    f"WITH few AS (SELECT id FROM {USERS} LIMIT 3) SELECT id FROM few",
    "VALUES (1::bigint), (NULL), (999999999)",
    f"SELECT id FROM {USERS} UNION ALL SELECT user_id FROM shop_order",
    'SELECT user_id AS "a b" FROM shop_order -- all',
    f"SELECT u.id FROM {USERS} u LEFT JOIN shop_order o ON o.user_id = u.id WHERE $x$;$x$ <> ''",
]

PIECES = [
    "(", ")", "((", "))", ";", "'", '"', "--", "--\n", "/*", "*/", "$$", "$x$", "\\", "E'", "U&'",
    'U&"', "'; ", "\n", "\r", "\t", "\0", "%s", "{definition}", "$1", ",", ".", "::", "::bigint",
    "AS id", "AS definition", ") AS definition", ") AS definition WHERE true", "u.id",
    "definition.id", "UNION ALL SELECT 999999999::bigint", "FROM (SELECT 1 AS id",
    "WHERE 1 IN (SELECT 1", "*", "; DROP TABLE vault", "; DROP TABLE vault --", "; COMMIT",
    "; SET ROLE none", "; DELETE FROM vault", "WITH w AS (DELETE FROM vault RETURNING id) ",
    "INTO stolen", "FOR UPDATE", "LIMIT 1", "OFFSET 1", "ORDER BY 1", "EXPLAIN ANALYZE ",
    "COPY (", ") TO PROGRAM 'true'", "RETURNING id", "vault", "secret", "NULL", "-1", "1e400",
    "0x", "set_config('role', 'none', true)", "pg_catalog.", "pg_temp.vip", "LATERAL",
    "TABLESAMPLE SYSTEM (1)", "WINDOW w AS ()", "GROUPING SETS (())", "UESCAPE '!'", "\ud800",
    "\u00a0", "\u202e", "\uff08", "\U0001f600", "segments_live.is_member('vip', 1::bigint)",
    "1 / 0", "pg_try_advisory_lock(4242)", "AND lo_create(0) > 0", ", nextval('public.calls')",
    "UNION SELECT pg_notify('segments', 'x')::text::bigint", ", set_config('app.x', 'y', false)",
]  # fmt: skip


@st.composite
def definitions(draw):
    """Compose a definition from valid ones: insert some pieces, cut others out."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        match draw(st.sampled_from(["put", "put", "cut", "wrap", "join", "end"])):
            case "put":
                text = text[:place] + draw(st.sampled_from(PIECES)) + text[place:]
            case "cut":
                text = text[:place] + text[place + draw(st.integers(1, 9)) :]
            case "wrap":
                before, after = draw(
                    st.sampled_from(
                        [
                            ("(", ")"),
                            ("SELECT * FROM (", ") q"),
                            ("/*", "*/"),
                            ("$$", "$$"),
                            ("SELECT 1 AS id) AS definition) UNION (", " WHERE ((true"),
                            ("WITH q AS (", ") SELECT * FROM q"),
                        ]
                    )
                )
                text = before + text + after
            case "join":
                between = draw(
                    st.sampled_from([";", " UNION ", " EXCEPT ", "\n", " ) ( ", "--\n"])
                )
                text = text + between + draw(st.sampled_from(VALID))
            case "end":
                text = f"{text} {draw(st.sampled_from(PIECES))}"
    return text


@st.composite
def calls(draw):
    """Compose a definition with a random call deep in expressions and queries."""
    expression = "{call}"
    for _ in range(draw(st.integers(0, 4))):
        around = draw(st.sampled_from([*EXPRESSIONS.values()]))
        # Converts a value of any type to an integer.
        expression = around.replace("{call}", f"length(({expression})::text)")
    text = draw(st.sampled_from([*DEFINITIONS.values()]))
    text = text.replace("{call}", f"length(({expression})::text)")
    for _ in range(draw(st.integers(0, 2))):
        around = draw(
            st.sampled_from(
                [
                    "SELECT * FROM ({text}) q",
                    "WITH q AS ({text}) SELECT * FROM q",
                    f"{ORDERS} WHERE EXISTS ({{text}})",
                    f"{ORDERS} WHERE (SELECT count(*) FROM ({{text}}) q) >= 0",
                ]
            )
        )
        text = around.replace("{text}", text)
    return text, draw(st.sampled_from([*REFUSED_CALLS.values()]))


@pytest.fixture
def fuzz(vip, look, users, query):
    """Evaluate a definition in one way; return whether it was accepted."""
    everyone = {user.pk for user in users}
    start = look()

    def evaluate(text):
        members, segment = None, Segment(name="x", slug="x", definition=text)
        try:
            with transaction.atomic():
                segment.save()
                members = set(segment.member_ids())
                live = {user.pk for user in users if segment.has_member_live(user)}
                listed = set(segment.members_live.values_list("pk", flat=True))
                transaction.set_rollback(True)
        except SegmentError:
            pass
        assert look() == start
        if members is None:
            return False
        assert members <= everyone
        # A volatile definition, or a LIMIT without an order, may return other users each time.
        assert (live | listed) <= everyone
        return True

    return evaluate


@pytest.mark.slow
def test_composed_definition__changes_nothing(fuzz):
    came = []

    @settings(max_examples=200, **FIXED)
    @given(definitions())
    def check(text):
        came.append(fuzz(text))

    check()
    assert came.count(True) > 10
    assert came.count(False) > 10


@pytest.mark.slow
def test_composed_call__is_seen_however_deep_it_stands(vip, look):
    start = look()

    @settings(max_examples=200, **FIXED)
    @given(calls())
    def check(composed):
        text, call = composed
        with pytest.raises(SegmentDefinitionError) as caught, transaction.atomic():
            Segment(name="x", slug="x", definition=text.replace("{call}", call)).save()
        assert caught.value.message.startswith("the definition calls ")
        # A harmless call is accepted, even if its evaluation fails.
        with suppress(SegmentExecutionError), transaction.atomic():
            try_definition(
                Segment(name="x", slug="x", definition=text.replace("{call}", ALLOWED_CALL)), None
            )

    check()
    assert look() == start


@pytest.mark.slow
def test_text__is_refused(fuzz):
    @settings(max_examples=40, **FIXED)
    @given(st.text(min_size=1))
    def check(text):
        assert not fuzz(text)

    check()


@pytest.mark.slow
def test_gate__compiles_what_it_takes_within_its_wrapper(vip, query):
    """Postgres parses the whole as one SELECT with the one expected column."""
    from django.db import connection

    from segments.definition.select import Definition, compile_definition, describe

    @settings(max_examples=150, **FIXED)
    @given(definitions())
    def check(text):
        try:
            with transaction.atomic():
                compiled = compile_definition(connection, Definition("x", text))
                whole = describe(connection, compiled.select)
                # Without a LIMIT, so that a definition that breaks out shows.
                query(f"SELECT count(*) FROM (\n{compiled.select.replace('%', '%%')}\n) q LIMIT 0")
        except (SegmentDefinitionError, django.db.Error):
            return
        assert [column.name for column in whole] == ["user_id"]
        assert compiled.select.endswith(("IS NOT NULL", ") AS definition)"))

    check()


# Column origins.


@dataclass(eq=False)
class RandomColumn:
    """A column of integers.

    Attributes:
        refers: `users`, `number` (another unique column of theirs), a table, or nothing.
    """

    name: str
    refers: object = None
    key: bool = False

    @property
    def holds_users(self):
        if isinstance(self.refers, RandomTable):
            return self.refers.key.holds_users
        return self.refers == "users"


@dataclass(eq=False)
class RandomTable:
    """A table; its rows have numbers from 0 to 9, which stand for the keys of the ten users."""

    name: str
    columns: list
    rows: list
    parent: object = None
    children: list = field(default_factory=list)

    @property
    def key(self):
        return next((column for column in self.columns if column.key), None)

    def values(self, column):
        """Return what a SELECT of a column returns, rows of tables that inherit included."""
        rows = [*self.rows, *(row for child in self.children for row in child.all_rows())]
        return {row[self.columns.index(column)] for row in rows}

    def all_rows(self):
        return [*self.rows, *(row for child in self.children for row in child.all_rows())]

    def create(self, query, keys):
        if self.parent:
            query(f"CREATE TABLE {self.name} () INHERITS ({self.parent.name})")
        else:
            definitions = []
            for column in self.columns:
                target = {"users": f"{USERS} (id)", "number": f"{USERS} (number)"}.get(
                    column.refers, ""
                )
                if isinstance(column.refers, RandomTable):
                    target = column.refers.name
                definitions.append(
                    f'"{column.name}" bigint {"PRIMARY KEY" if column.key else ""} '
                    f"{f'REFERENCES {target}' if target else ''}"
                )
            query(f"CREATE TABLE {self.name} ({', '.join(definitions)})")
        for row in self.rows:
            values = ", ".join(str(keys[number]) for number in row)
            query(f"INSERT INTO {self.name} VALUES ({values})")


KEY_NAMES = ("id", "user_id", "pk")
COLUMN_NAMES = (*KEY_NAMES, "customer_id", "who", "a b")


@st.composite
def tables(draw):
    """Compose tables that refer to users, to other columns of theirs, and to each other."""
    created = []
    for number in range(draw(st.integers(1, 4))):
        if created and draw(st.integers(0, 3)) == 0:
            parent = draw(st.sampled_from(created))
            columns, inherits = parent.columns, True
        else:
            inherits = False
            keyed = [table for table in created if table.key and not table.parent]
            columns = []
            if draw(st.integers(0, 4)):
                refers = draw(st.sampled_from([None, None, "users", *keyed]))
                columns.append(RandomColumn(draw(st.sampled_from(KEY_NAMES)), refers, True))
            free = [name for name in COLUMN_NAMES if name not in {c.name for c in columns}]
            for name in draw(st.permutations(free))[: draw(st.integers(not columns, 3))]:
                refers = draw(st.sampled_from(["users", "users", "number", *keyed]))
                columns.append(RandomColumn(name, refers))
        rows = []
        numbers = {column: draw(st.permutations(range(10))) for column in columns}
        for place in range(3):
            row = []
            for column in columns:
                value = numbers[column][place]
                if isinstance(column.refers, RandomTable):
                    target = column.refers
                    value = target.rows[(place + value * (not column.key)) % 3][
                        target.columns.index(target.key)
                    ]
                row.append(value)
            rows.append(row)
        table = RandomTable(f"t{number}", columns, rows, parent if inherits else None)
        if inherits:
            parent.children.append(table)
        created.append(table)
    return created


@st.composite
def selections(draw):
    """Compose a schema, a definition, and its columns: (name, whether it holds users, values)."""
    created = draw(tables())
    table = draw(st.sampled_from(created))
    result = [(c.name, c.holds_users, table.values(c)) for c in table.columns]
    everyone = [("id", True, set(range(10))), ("number", False, set(range(10)))]
    match draw(st.sampled_from(["all", "some", "some", "join", "users"])):
        case "all":
            text = f"SELECT * FROM {table.name}"
        case "some":
            chosen = draw(st.lists(st.sampled_from(table.columns), min_size=1, max_size=3))
            result, parts = [], []
            for column in chosen:
                name = draw(st.sampled_from([column.name, column.name, *COLUMN_NAMES]))
                parts.append(f'"{column.name}" AS "{name}"')
                result.append((name, column.holds_users, table.values(column)))
            text = f"SELECT {', '.join(parts)} FROM {table.name}"
        case "join":
            other = draw(st.sampled_from(created))
            text = f"SELECT x.*, y.* FROM {table.name} x CROSS JOIN {other.name} y"
            result += [(c.name, c.holds_users, other.values(c)) for c in other.columns]
        case "users":
            text = f"SELECT x.*, u.* FROM {table.name} x CROSS JOIN {USERS} u"
            result += everyone
    around = draw(st.sampled_from(["", "SELECT * FROM ({}) q", "WITH q AS ({}) TABLE q", "view"]))
    if around == "view" and len({name for name, _, _ in result}) < len(result):
        around = ""
    return created, text, around, result


def intended(columns):
    """Return the values of the column that is to be taken; None if it is to be refused."""
    holding = [(name, values) for name, holds_users, values in columns if holds_users]
    for wanted in ("id", "user_id"):
        if named := [values for name, values in holding if name == wanted]:
            return named[0] if len(named) == 1 else None
    return holding[0][1] if len(holding) == 1 else None


@pytest.mark.slow
def test_random_schema__names_the_intended_users_or_nobody(users, query):
    query("SET CONSTRAINTS ALL IMMEDIATE")
    keys = sorted(user.pk for user in users)
    query(f"ALTER TABLE {USERS} ADD COLUMN number bigint UNIQUE")
    query(f"UPDATE {USERS} SET number = {keys[0] + keys[-1]} - id")
    came = []

    @settings(max_examples=300, **FIXED)
    @given(selections())
    def check(selection):
        created, text, around, columns = selection
        expected, members = intended(columns), None
        with transaction.atomic():
            for table in created:
                table.create(query, keys)
            if around == "view":
                query(f"CREATE VIEW seen AS {text}")
                text = "SELECT * FROM seen"
            elif around:
                text = around.format(text)
            try:
                with transaction.atomic():
                    segment = Segment.objects.create(name="x", slug="x", definition=text)
                    members = {keys.index(key) for key in segment.member_ids()}
            except SegmentDefinitionError:
                pass
            transaction.set_rollback(True)
        assert members == expected, text
        came.append(members is not None)

    check()
    assert came.count(True) > 50
    assert came.count(False) > 50
