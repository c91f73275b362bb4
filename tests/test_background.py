"""Refreshing in the background, by a real worker process."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.messages import get_messages
from django.db import connection, transaction
from django.urls import reverse
from django_tasks_db.models import DBTaskResult

from segments import tasks
from segments.models import Segment
from tests.conftest import EVEN
from tests.processes import ROOT
from tests.waiting import BLOCKED, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clean_views"),
]


@pytest.fixture(autouse=True)
def asynchronous(settings):
    settings.SEGMENTS_REFRESH_ASYNC = True


@pytest.fixture
def worker():
    """A worker process; a call waits until all tasks are done, and returns them."""
    process = subprocess.Popen(
        [
            sys.executable, "-m", "django", "db_worker", "--interval", "0.05",
            "--no-startup-delay", "--no-reload",
        ],
        cwd=ROOT,
        env=os.environ | {"SEGMENTS_DATABASE": connection.settings_dict["NAME"]},
    )  # fmt: skip

    def done():
        waiting = DBTaskResult.objects.exclude(status__in=["SUCCESSFUL", "FAILED"])
        until(lambda: process.poll() is not None or not waiting.exists())
        assert process.poll() is None
        return list(DBTaskResult.objects.order_by("enqueued_at"))

    yield done
    process.terminate()
    process.wait(timeout=30)


def outcomes(rows):
    return [row.return_value for row in rows]


def test_save__leaves_refreshing_to_the_worker(staff, users, make, worker):
    segment = make(definition=EVEN)
    assert (segment.status, segment.members_count) == ("unpopulated", None)
    assert segment.has_member(users[0])
    assert not segment.has_member(users[1])
    assert outcomes(worker()) == ["refreshed"]
    segment.refresh_from_db()
    assert (segment.status, segment.members_count) == ("refreshed", 5)
    segment.definition = f"{EVEN} LIMIT 1"
    segment.save()
    assert segment.members_count == 5
    assert outcomes(worker()) == ["refreshed", "refreshed"]
    assert len(segment) == 1


def test_enqueued_twice__runs_once(staff, make, worker):
    with transaction.atomic():
        segment = make(definition=EVEN)
        tasks.enqueue_refresh(segment)
        tasks.enqueue_refresh(segment)
    assert outcomes(worker()) == ["refreshed"] * 3
    assert segment.refreshes.count() == 1


def test_enqueued_during_a_refresh__runs_after_it(staff, make, worker, session):
    """A running refresh does not include later changes."""
    segment = make(definition=EVEN)
    worker()
    other = session()
    with other.transaction():
        other.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"segments:{segment.pk}"]
        )
        staff(1)
        tasks.enqueue_refresh(segment)
        until(lambda: other.execute(BLOCKED).fetchone() == (1,))
    assert outcomes(worker()) == ["refreshed", "refreshed"]
    assert len(segment) == 1


def test_failure__is_that_of_the_task_and_of_the_segment(staff, make, worker):
    segment = make(definition=f"{EVEN} AND 1 / (id - id) = 1")
    (row,) = worker()
    assert row.status == "FAILED"
    assert "division by zero" in row.traceback
    segment.refresh_from_db()
    assert (segment.status, segment.failures) == ("failed", 1)


def test_deleted_meanwhile__is_no_failure(make, worker):
    with transaction.atomic():
        segment = make()
        tasks.enqueue_refresh(segment)
    segment.delete()
    assert set(outcomes(worker())) <= {"deleted", "refreshed"}


def test_user__is_refreshed_by_the_worker(staff, users, make, worker):
    make(definition=EVEN)
    worker()
    users[1].is_staff = True
    users[1].save()
    users[1].refresh_segments_async()
    users[1].refresh_segments_async()
    assert outcomes(worker())[1:] == [{"vip": "refreshed"}, {}]
    assert users[1].is_member("vip")


def test_refresh_segments__takes_those_that_are_due_or_all(staff, make, worker):
    make("hourly", definition=EVEN, refresh_every=timedelta(hours=1))
    make("never")
    worker()
    Segment.objects.update(attempted_at=None)
    due = tasks.refresh_segments.enqueue()
    worker()
    everything = tasks.refresh_segments.enqueue(due=False)
    worker()
    for result in (due, everything):
        result.refresh()
    assert set(due.return_value) == {"hourly"}
    assert set(everything.return_value) == {"hourly", "never"}


def test_admin__says_that_a_worker_will_do_it(make, worker, client):
    segments = [make("a"), make("b", definition="SELECT user_id FROM segments.a")]
    worker()
    client.force_login(get_user_model().objects.create_superuser("admin"))
    response = client.post(
        reverse("admin:segments_segment_changelist"),
        {"action": "refresh_selected", "_selected_action": [s.pk for s in segments]},
    )
    assert [str(m) for m in get_messages(response.wsgi_request)] == [
        "A worker will refresh 2 segments."
    ]
    assert [row.args_kwargs["args"][0] for row in worker()[2:]] == [s.pk for s in segments]
    assert [s.refreshes.count() for s in segments] == [2, 2]
