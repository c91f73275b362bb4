"""What differs for the tests in a set-up: the few that do not apply there, each with a reason."""

import pytest
from django.conf import settings

from tests.setups.restored import creates_schemas, prepared, restored  # noqa: F401

TAKES_LONG = "takes long, and says nothing of roles that others do not"
SUPERUSER = "sets what superusers alone may set"
OWN_DATABASE = "makes a database of its own"
TABLES = "migrates as a role that does not own the tables"
TRIED_FIRST = "a definition is tried before anything is saved or read"
UNPROVEN = "without pg_read_all_stats, what sessions of other roles may have written is unknown"
ORPHAN = "the name of a view is not taken there as long as the view is there"
MOVES = "moves a table to a schema, which nobody may create there"
SAVED_FIRST = "the row of a segment is saved before its views, which then fail with a history"

MAKE_SCHEMAS = [
    "test_dropped_schemas__are_put_back_with_all_segments",
    "test_schema__has_the_name_of_the_setting",
    "test_first_segments__may_be_created_at_once",
    "test_broken_population__is_told_even_when_others_succeed",
]
"""What needs CREATE on the database, which the owner of the views has not got there."""

NOT_APPLICABLE = {
    "test_refresh__counts_are_exact_however_it_is_done": SUPERUSER,
    "test_database__that_a_test_runner_keeps_works_again": OWN_DATABASE,
    "test_killed_migration__is_healed_without_a_person": TAKES_LONG,
    "test_running_refresh__is_waited_for": TAKES_LONG,
    "test_many_sessions__end_in_step": TAKES_LONG,
    "test_segments_of_a_user__cost_one_query_however_many_exist": TAKES_LONG,
    "test_jobs__that_are_abandoned_finish_what_they_do": TAKES_LONG,
    "test_jobs__keep_the_order_and_the_members_of_one": TAKES_LONG,
    "test_cycle__is_refused_with_its_path": TAKES_LONG,
}

NOT_FOR = {
    "one_role": {},
    "exec_role": {"test_moved_users__are_found_again_by_a_sync": MOVES},
    "exec_alias": {
        "test_moved_users__are_found_again_by_a_sync": MOVES,
        "test_during__members_stay_readable_and_refreshes_stand_aside": SAVED_FIRST,
        "test_migrate__of_another_alias_of_the_database_does_the_same": TABLES,
        "test_jobs__skip_what_was_not_written_and_leave_no_connection": UNPROVEN,
        "test_orphan__is_taken_over_by_a_new_segment_of_its_name": ORPHAN,
        "test_rename__to_the_name_of_an_orphan_replaces_it": ORPHAN,
        "test_prune__spares_a_segment_that_comes_to_have_the_name": ORPHAN,
        "test_iterator__is_read_once_and_says_so": TRIED_FIRST,
    },
}


def pytest_collection_modifyitems(items):
    """Skip what does not apply; commit what is else rolled back, where views follow on commit."""
    reasons = NOT_APPLICABLE | NOT_FOR[settings.SETUP]
    for item in items:
        name = getattr(item, "originalname", item.name)
        if name in reasons:
            item.add_marker(pytest.mark.skip(reason=reasons[name]))
        if settings.SETUP == "exec_alias" and item.get_closest_marker("django_db"):
            committed = pytest.mark.django_db(transaction=True, databases=["default", "exec"])
            item.add_marker(committed, append=False)
            item.fixturenames.insert(0, "restored")
        if settings.SETUP != "one_role" and name in MAKE_SCHEMAS:
            item.fixturenames.append("creates_schemas")
