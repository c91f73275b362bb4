"""Which column of a definition is taken for user ids, and why others are not."""

import pytest
from django.db import connection

from segments.definition import origins
from segments.exceptions import SegmentDefinitionError
from segments.models import Segment
from segments.sql import names as sql_names
from tests.conftest import USERS

pytestmark = pytest.mark.django_db

TABLES = f"""
ALTER TABLE {USERS} ADD COLUMN number integer UNIQUE, ADD COLUMN age integer,
    ADD COLUMN referrer_id bigint REFERENCES {USERS};
UPDATE {USERS} SET number = 1000 - id, age = id, referrer_id = (SELECT max(id) FROM {USERS});
CREATE TABLE product (id bigint PRIMARY KEY, code integer UNIQUE);
INSERT INTO product SELECT id, id FROM {USERS};
CREATE TABLE buy (
    id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES {USERS}, amount bigint,
    product_id bigint REFERENCES product, code integer REFERENCES product (code), note text
);
INSERT INTO buy SELECT id, (SELECT max(id) FROM {USERS}), id, id, id FROM {USERS};
CREATE TABLE wrong (user_id bigint REFERENCES product);
INSERT INTO wrong SELECT id FROM product;
CREATE TABLE by_number (user_id integer REFERENCES {USERS} (number));
CREATE TABLE gift (giver bigint REFERENCES {USERS}, taker bigint REFERENCES {USERS});
INSERT INTO gift SELECT min(id), max(id) FROM {USERS};
CREATE TABLE loose (id bigint, who bigint, user_id bigint);
INSERT INTO loose SELECT max(id), max(id), max(id) FROM {USERS};
CREATE TABLE mixed (id bigint, user_id bigint, seller_id bigint REFERENCES {USERS});
CREATE TABLE score (user_id bigint PRIMARY KEY, points integer);
CREATE TABLE member (user_ptr_id bigint PRIMARY KEY REFERENCES {USERS});
CREATE TABLE card (id bigint PRIMARY KEY, member_id bigint REFERENCES member);
INSERT INTO member SELECT max(id) FROM {USERS};
INSERT INTO card SELECT 1, max(id) FROM {USERS};
CREATE TABLE team (id bigint, lead bigint, PRIMARY KEY (id, lead));
ALTER TABLE team ADD FOREIGN KEY (lead) REFERENCES {USERS} NOT VALID;
INSERT INTO team SELECT 1, max(id) FROM {USERS};
CREATE TABLE task (
    id bigint PRIMARY KEY, team bigint, lead bigint, FOREIGN KEY (team, lead) REFERENCES team
);
INSERT INTO task SELECT 1, 1, max(id) FROM {USERS};
CREATE TABLE part (id bigint, buyer bigint REFERENCES {USERS}, month integer)
    PARTITION BY LIST (month);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
INSERT INTO part SELECT 1, max(id), 1 FROM {USERS};
CREATE TABLE heir () INHERITS (buy);
INSERT INTO heir SELECT 0, max(id), 1 FROM {USERS};
CREATE VIEW sales AS SELECT b.id, b.customer_id AS buyer, 1 + b.amount AS more
    FROM buy b JOIN product p USING (id);
CREATE VIEW "odd {{}} view" AS SELECT s.*, '}}' AS "}}{{ :resno 1" FROM (SELECT * FROM sales) s;
CREATE MATERIALIZED VIEW stored AS SELECT customer_id, id FROM buy;
CREATE UNIQUE INDEX ON stored (id);
"""


@pytest.fixture
def tables(users, query):
    """Tables whose keys equal those of users; all their references are to the last user."""
    query("SET CONSTRAINTS ALL IMMEDIATE")
    for statement in TABLES.split(";\n"):
        query(statement) if statement.strip() else None


TAKEN = {
    "a foreign key": ("SELECT * FROM buy", "buy.customer_id"),
    "one under another name": ("SELECT customer_id AS buyer, amount FROM buy", "buy.customer_id"),
    "one beside an aggregate": (
        "SELECT customer_id, count(*) FROM buy GROUP BY customer_id", "buy.customer_id",
    ),
    "one in a query": (
        "WITH b AS (SELECT * FROM buy) SELECT x.* FROM (TABLE b) x JOIN product USING (id)",
        "buy.customer_id",
    ),
    "the key beside others": (
        f"SELECT * FROM {USERS} u JOIN buy b ON b.customer_id = u.id", f"{USERS}.id",
    ),
    "the key after others": (
        f"SELECT * FROM buy b JOIN {USERS} u ON b.customer_id = u.id", f"{USERS}.id",
    ),
    "the key without its name": (
        f"SELECT u.id AS who, b.id FROM buy b JOIN {USERS} u ON b.customer_id = u.id",
        f"{USERS}.id",
    ),
    "the one that is named": ("SELECT giver, taker AS id FROM gift", "gift.taker"),
    "the one named user_id": ("SELECT giver, taker AS user_id FROM gift", "gift.taker"),
    "a reference to the users in the users": (
        f"SELECT referrer_id FROM {USERS}", f"{USERS}.referrer_id",
    ),
    "the key of a child table": ("SELECT * FROM member", "member.user_ptr_id"),
    "a reference to a child table": ("SELECT * FROM card", "card.member_id"),
    "a reference that is not validated": ("SELECT lead FROM team", "team.lead"),
    "a reference of several columns": ("SELECT * FROM task", "task.lead"),
    "a table of partitions": ("SELECT * FROM part", "part.buyer"),
    "a partition": ("SELECT * FROM part_1", "part_1.buyer"),
    "a table that inherits": ("SELECT * FROM heir", "heir.customer_id"),
    "a view": ("SELECT * FROM sales", "sales.buyer"),
    "a view of a view": ('SELECT * FROM "odd {} view"', '"odd {} view".buyer'),
    "a materialized view": ("SELECT * FROM stored", "stored.customer_id"),
    "a column without a key": ("SELECT who FROM loose", "loose.who, as the only column"),
    "a column only by its name": (
        "SELECT user_id, who FROM loose", "loose.user_id, by its name",
    ),
    "an alias": ("SELECT who AS id, 1 AS one FROM loose", "loose.who, by its name"),
    "an expression": ("SELECT max(who) AS user_id FROM loose", '"user_id", by its name'),
    "a set": (
        "SELECT customer_id FROM buy UNION SELECT taker FROM gift",
        '"customer_id", as the only column',
    ),
    "a name beside the key of another": (
        "SELECT b.id, max(b.customer_id) AS user_id FROM buy b GROUP BY b.id",
        '"user_id", by its name',
    ),
    "the view of a segment": ("SELECT user_id FROM segments.last", "segments.last.user_id"),
    "the live view of a segment": (
        "SELECT * FROM segments_live.last", "segments_live.last.user_id",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("definition", "ids_from"), TAKEN.values(), ids=TAKEN)
def test_column__that_holds_users_is_taken(definition, ids_from, tables, users, make, query):
    make("last", definition=f"SELECT max(id) AS id FROM {USERS}")
    segment = make(definition=definition)
    key_itself = ids_from == f"{USERS}.id" and "JOIN" not in definition
    assert set(segment.members) == (set(users) if key_itself else {users[-1]})
    assert segment.preview().ids_from == segment.ids_from == ids_from
    assert query("SELECT ids_from FROM segments.catalog WHERE slug = 'vip'") == [(ids_from,)]


REFUSED = {
    "a key": (
        "SELECT id FROM buy",
        '"id" is the key of buy, not of users; select "customer_id", which refers to them',
    ),
    "a key with another name": (
        "SELECT id AS user_id FROM buy", '"user_id" (buy.id) is the key of buy, not of users',
    ),
    "a key in a query": (
        "SELECT * FROM (SELECT id FROM buy ORDER BY id) b", '"id" is the key of buy',
    ),
    "a key beside others": ("SELECT id, amount FROM buy", '"id" is the key of buy'),
    "a key with two to choose from": (
        "SELECT g.id FROM (SELECT number AS id FROM accounts_segmentableuser) g",
        '"id" (accounts_segmentableuser.number) is a unique column of accounts_segmentableuser, '
        'not the key of users; select "id"',
    ),
    "a unique column": ("SELECT code FROM product", '"code" is a unique column of product'),
    "a reference to another table": (
        "SELECT product_id FROM buy",
        '"product_id" refers to product.id, not to the key of users; select "customer_id"',
    ),
    "a reference to a unique column": ("SELECT code FROM buy", '"code" refers to product.code'),
    "user_id that refers to another table": (
        "SELECT user_id FROM wrong", '"user_id" refers to product.id, not to the key of users',
    ),
    "user_id that refers to another column": (
        "SELECT * FROM by_number", f'"user_id" refers to {USERS}.number, not to the key of users',
    ),
    "user_id that is a key": ("SELECT * FROM score", '"user_id" is the key of score'),
    "a column of users": (f"SELECT age FROM {USERS}", f'"age" is a column of {USERS}, and not'),
    "a key in a partition": ("SELECT id FROM heir", '"id" is the key of buy'),
    "a key in a view": (
        "SELECT id FROM sales",
        '"id" is the key of buy, not of users; select "buyer", which refers to them',
    ),
    "a key in a view of a view": ('SELECT id FROM "odd {} view"', '"id" is the key of buy'),
    "a key in a materialized view": ("SELECT id FROM stored", '"id" is the key of buy'),
    "several references": ("SELECT * FROM gift", '"giver" and "taker" refer to users'),
    "a reference beside user_id": (
        "SELECT * FROM mixed", '"seller_id" refers to users, but "user_id" has the name of',
    ),
    "a reference beside an expression": (
        "SELECT max(taker) AS id, giver FROM gift GROUP BY giver",
        '"giver" refers to users, but "id" has the name of the user ids',
    ),
    "one name twice": (
        f"SELECT a.id, 1, b.id FROM {USERS} a, {USERS} b",
        'two columns are called "id": columns 1 and 3',
    ),
    "one expression twice": (
        "SELECT 1 AS user_id, 2 AS user_id, 3 AS user_id",
        '3 columns are called "user_id": columns 1, 2 and 3',
    ),
    "one reference twice": (
        "SELECT a.giver, b.giver FROM gift a, gift b",
        'two columns are called "giver": columns 1 and 2',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("definition", "says"), REFUSED.values(), ids=REFUSED)
def test_column__that_holds_something_else_is_refused(definition, says, tables, names):
    before = names()
    segment = Segment(name="Vip", slug="vip", definition=definition)
    for attempt in (segment.save, segment.preview):
        with pytest.raises(SegmentDefinitionError) as caught:
            attempt()
        assert says in str(caught.value)
        assert caught.value.field == "definition"
    assert names() == before


def test_foreign_key__that_is_not_validated_keeps_the_user_table(tables, make, query):
    query("ALTER TABLE buy DROP CONSTRAINT buy_customer_id_fkey")
    query("INSERT INTO buy (id, customer_id) VALUES (-1, 987654)")
    query(f"ALTER TABLE buy ADD FOREIGN KEY (customer_id) REFERENCES {USERS} NOT VALID")
    segment = make(definition="SELECT * FROM ONLY buy")
    assert segment.ids_from == "buy.customer_id"
    assert len(segment) == 1


def test_reference__that_is_lost_fails_and_keeps_members(tables, make, query):
    segment = make(definition="SELECT * FROM card")
    query("ALTER TABLE card DROP CONSTRAINT card_member_id_fkey")
    with pytest.raises(SegmentDefinitionError, match='"id" is the key of card, not of users'):
        segment.refresh()
    assert (segment.status, len(segment), segment.ids_from) == ("failed", 1, "card.member_id")


def test_reference__in_a_circle_comes_to_an_end(tables, query):
    query("CREATE TABLE ring (id bigint PRIMARY KEY REFERENCES product)")
    query("ALTER TABLE product ADD FOREIGN KEY (id) REFERENCES ring NOT VALID")
    with pytest.raises(SegmentDefinitionError, match='"id" is the key of ring'):
        Segment(name="x", slug="x", definition="SELECT id FROM ring").save()


def test_origins__of_all_columns_take_one_query(tables, django_assert_num_queries):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'buy'::regclass::oid::bigint, %s::regclass::oid::bigint", [USERS])
        buy, users = cursor.fetchone()
    with django_assert_num_queries(1):
        known = origins.origins(connection, [(buy, None), (users, None)])
    # Another table inherits from this one, so its foreign key does not hold for all rows.
    assert {str(origin) for origin in known.values() if origin.certain} == {
        f"{USERS}.id", f"{USERS}.referrer_id",
    }  # fmt: skip
    assert {origin.column for origin in known.values() if origin.proved} == {
        "customer_id", "id", "referrer_id",
    }  # fmt: skip


def test_ids_from__of_lists_and_methods(orders, users, make):
    assert make("listed", static_ids=users[:1]).ids_from == ""
    assert (
        make("method", manager_method="all").ids_from == f"{USERS}.{sql_names.user_key_column()}"
    )
    both = make("both", static_ids=users[:1], definition="SELECT user_id FROM shop_order")
    assert both.ids_from == "shop_order.user_id"


def test_ids_from__follows_a_changed_definition(orders, make, query):
    segment = make()
    assert segment.ids_from == f"{USERS}.id"
    segment.definition = "SELECT user_id FROM shop_order"
    segment.save()
    assert segment.ids_from == "shop_order.user_id"
    query("UPDATE segments_segment SET ids_from = ''")
    assert segment.refresh(force=True).status == "refreshed"
    assert query("SELECT ids_from FROM segments.catalog") == [("shop_order.user_id",)]
