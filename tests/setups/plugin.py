"""What differs for the tests in a set-up: the few that do not apply there, each with a reason."""

import pytest
from django.conf import settings

TAKES_LONG = "takes long, and says nothing of roles that others do not"
SUPERUSER = "sets what superusers alone may set"
OWN_DATABASE = "makes a database of its own"
CREATES_SCHEMAS = "makes the schemas anew, which takes CREATE on the database"
BY_HAND = "does by hand what only the owner of the views may do"
TABLES = "migrates as a role that does not own the tables"
TRIED_FIRST = "a definition is tried before anything is saved or read"
SAVED_FIRST = "the row of a segment is saved before its views, which then fail with a history"
KEEPS_ROWS = "leaves rows that protect the segment from being deleted in the end"

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
    "exec_role": {
        "test_dropped_schemas__are_put_back_with_all_segments": CREATES_SCHEMAS,
        "test_schema__has_the_name_of_the_setting": CREATES_SCHEMAS,
        "test_first_segments__may_be_created_at_once": CREATES_SCHEMAS,
        "test_broken_population__is_told_even_when_others_succeed": CREATES_SCHEMAS,
        "test_refresh__puts_back_what_others_took_from_a_view_and_says_so": BY_HAND,
        "test_sync__puts_back_what_others_took_from_a_view_and_says_so": BY_HAND,
        "test_index_and_comment_put_back_by_hand__do_not_make_members_good": BY_HAND,
    },
    "exec_alias": {
        "test_during__members_stay_readable_and_refreshes_stand_aside": SAVED_FIRST,
        "test_during__a_refresh_by_hand_fails_loudly_and_keeps_the_rows": BY_HAND,
        "test_detaching__is_committed_before_it_is_told": BY_HAND,
        "test_migrate__of_another_alias_of_the_database_does_the_same": TABLES,
        "test_iterator__is_read_once_and_says_so": TRIED_FIRST,
        "test_delete__of_what_is_protected_is_refused": KEEPS_ROWS,
    },
}


def pytest_collection_modifyitems(items):
    """Skip what does not apply; commit what is else rolled back, where views follow on commit."""
    reasons = NOT_APPLICABLE | NOT_FOR[settings.SETUP]
    for item in items:
        if settings.SETUP == "exec_alias" and item.get_closest_marker("django_db"):
            committed = pytest.mark.django_db(transaction=True, databases=["default", "exec"])
            item.add_marker(committed, append=False)
            item.fixturenames.append("clean_views")
        name = getattr(item, "originalname", item.name)
        if name in reasons:
            item.add_marker(pytest.mark.skip(reason=reasons[name]))
