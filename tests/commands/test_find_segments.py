"""find_segments: what reads a table or a column."""

import pytest

from tests.commands.running import attempt, run
from tests.conftest import EVEN

pytestmark = pytest.mark.django_db


def test_find__names_segments_and_the_views_of_others(staff, make, query):
    make("big", definition="SELECT user_id FROM shop_order WHERE amount > 100")
    make("even", definition=EVEN)
    query("CREATE VIEW public.report AS SELECT user_id FROM segments.big")
    ((owner,),) = query("SELECT current_user")
    lines = ["segment big", f"view report of {owner}"]
    assert run("find_segments", "shop_order").splitlines() == lines
    assert run("find_segments", "shop_order.amount").splitlines() == lines
    assert run("find_segments", "shop_order.placed_at") == (
        "No segment reads shop_order.placed_at.\n"
    )


def test_find__refuses_a_table_that_does_not_exist(db):
    done = attempt("find_segments", "nowhere.at.all")
    assert str(done.error) == "there is no table or column nowhere.at.all"
    assert done.error.returncode == 1
