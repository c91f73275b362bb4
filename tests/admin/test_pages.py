"""The list of segments and the page of each: what they say, at what cost, and to whom."""

import html
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse, set_script_prefix
from django.utils import timezone, translation
from django.utils.formats import reset_format_cache

from segments.admin import charts
from segments.definition.kinds import defining
from segments.models import Segment, SegmentRefresh, Status
from segments.sql import locks
from tests.admin.histories import many_segments, write_history
from tests.admin.test_segment import ADD, LIST, form
from tests.conftest import USERS

pytestmark = pytest.mark.django_db

OVERVIEW = "admin:segments_segment_overview"
CHANGE = "admin:segments_segment_change"
PROGRESS = "admin:segments_segment_progress"
REFRESH = "admin:segments_segment_refresh"


@pytest.fixture
def browse(admin_client):
    """Request pages as a superuser; return the unescaped text."""

    def ask(name, /, *args, query="", **data):
        url = reverse(name, args=args) + query
        response = admin_client.post(url, data, follow=True) if data else admin_client.get(url)
        assert response.status_code == 200
        return html.unescape(response.content.decode())

    return ask


@pytest.fixture
def person(client, django_user_model):
    """Log in a member of staff with these permissions."""

    def log_in(*codenames):
        user = django_user_model.objects.create_user("somebody", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)
        return client

    return log_in


def rows(page):
    """Return the rows of a list by the name of the segment's view."""
    table = page.partition('id="result_list"')[2].partition("</table>")[0]
    found = re.findall(r'<tr>(<td class="action.*?)</tr>', table, re.DOTALL)
    return {re.search(r'segments-view">(\w+)<', row)[1]: row for row in found}


def word(row):
    return re.search(r'data-word="(\w+)"', row)[1]


def strict(page):
    """Return what a strict Content-Security-Policy would not allow on a page."""
    inline = re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page)
    inline = [tag for tag in inline if 'type="application/json"' not in tag]
    return inline + re.findall(r"<[^>]+\sstyle=[^>]*>|<style\b|<[^>]+\son\w+=", page)


# The list.


@pytest.mark.slow
def test_list__says_how_each_segment_is_doing(orders, make, browse, query):
    make("fresh", refresh_every=3600)
    make("due", refresh_every=3600)
    make("plain")
    make("off", is_active=False)
    make("broken")
    make("outdated")
    make("new")
    changes = {
        "due": {"attempted_at": timezone.now() - timedelta(hours=3)},
        "broken": {"status": Status.FAILED, "last_error": "it broke\nhere"},
        "outdated": {"status": Status.OUTDATED},
        "new": {"status": Status.UNPOPULATED, "members_count": None, "refreshed_at": None},
    }
    for slug, fields in changes.items():
        Segment.objects.filter(slug=slug).update(**fields)
    found = rows(browse(LIST))
    assert {slug: word(row) for slug, row in found.items()} == {
        "fresh": "fresh", "due": "due", "plain": "refreshed", "off": "refreshed",
        "broken": "failing", "outdated": "outdated", "new": "unpopulated",
    }  # fmt: skip
    assert "inactive" in found["off"]
    assert 'title="it broke"' in found["broken"]
    for slug in found:
        assert list(rows(browse(LIST, query=f"?state={word(found[slug])}&q={slug}"))) == [slug]
    assert list(rows(browse(LIST, query="?state=inactive"))) == ["off"]
    assert set(rows(browse(LIST, query="?state=refreshed"))) == {"plain", "off"}


def test_list__shows_a_detached_segment(users, make, browse):
    from segments.sync.detach import detach

    make()
    make("other")
    list(detach(["vip"]))
    assert word(rows(browse(LIST))["vip"]) == "detached"
    assert list(rows(browse(LIST, query="?state=detached"))) == ["vip"]
    assert list(rows(browse(LIST, query="?state=refreshed"))) == ["other"]


@pytest.mark.django_db(transaction=True)
def test_list__shows_a_running_refresh(users, make, browse, session, clean_views):
    segment, other = make(), make("other")
    held = session()
    with held.transaction():
        key = locks.lock_key(segment.pk)
        held.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
        page = rows(browse(LIST))
        assert (word(page["vip"]), word(page["other"])) == ("refreshing", "refreshed")
        assert re.search(r">refreshing \d s<", page["vip"])
        assert re.search(r">refreshing \d s<", browse(OVERVIEW, segment.pk))
        assert list(rows(browse(LIST, query="?state=refreshing"))) == ["vip"]
        assert list(rows(browse(LIST, query="?state=refreshed"))) == ["other"]
        news = browse(PROGRESS, query=f"?segment={segment.pk}&segment={other.pk}&segment=x")
        assert '"word": "refreshing"' in news
        assert re.search(r'"label": "refreshing (\d) s", "busy": true, "seconds": \1', news)
    assert word(rows(browse(LIST))["vip"]) == "refreshed"


def test_list__shows_numbers_courses_and_ages(users, make, browse):
    segment = make()
    make("reader", definition="SELECT user_id FROM segments.vip")
    SegmentRefresh.objects.all().delete()
    write_history(segment, [1000 * n for n in range(1, 41)])
    Segment.objects.filter(slug="vip").update(
        members_count=1234567, refreshed_at=timezone.now() - timedelta(hours=3, minutes=5)
    )
    found = rows(browse(LIST))
    for shown in (
        ">1,234,567<",
        "3\xa0hours<",
        "Last 30 refreshes: from 11,000 to 40,000 members",
    ):
        assert shown in found["vip"]
    assert found["vip"].count("<polyline") == 1
    assert "<svg" not in found["reader"]
    cells = {
        slug: re.findall(r'field-(reads|read_by)">([^<]*)<', row) for slug, row in found.items()
    }
    assert cells["vip"] == [("reads", "-"), ("read_by", "1")]
    assert cells["reader"] == [("reads", "1"), ("read_by", "-")]


def test_list__says_its_order(users, make, browse):
    make("a")
    make("z", priority=1)
    page = browse(LIST)
    assert "Highest priority first" in page
    assert list(rows(page)) == ["z", "a"]
    page = browse(LIST, query="?o=1")
    assert "Highest priority first" not in page
    assert list(rows(page)) == ["a", "z"]


def test_list__is_searched_also_in_definitions(orders, make, browse):
    make("buyers", definition="SELECT user_id FROM shop_order")
    make("all", manager_method="all")
    assert list(rows(browse(LIST, query="?q=shop_order"))) == ["buyers"]


@pytest.mark.slow
def test_list__is_filtered_by_kind_owner_and_tag(users, make, browse, admin_user):
    make("list", static_ids=users[:1], description="For the #spring-mailing.")
    make("method", manager_method="all", description="Not #spring")
    browse(ADD, **form(definition=f"SELECT id FROM {USERS}", description="a#b"))
    make("empty", static_ids=[])
    make("mixed", static_ids=users[:1], definition=f"SELECT id FROM {USERS}")
    make("both", static_ids=users[:1], manager_method="all")
    page = rows(browse(LIST))
    kinds = (
        ("static", {"list", "empty"}, "A list of users"),
        ("manager", {"method"}, "A method of a model"),
        ("sql", {"vip"}, "SQL"),
        ("sql_and_list", {"mixed"}, "SQL and a list"),
        ("manager_and_list", {"both"}, "A method and a list"),
    )
    for value, slugs, words in kinds:
        assert set(rows(browse(LIST, query=f"?kind={value}"))) == slugs
        assert all(f'field-kind">{words}<' in page[slug] for slug in slugs)
    assert "SQL and a list" in browse(OVERVIEW, Segment.objects.get(slug="mixed").pk)
    Segment.objects.filter(slug__in=["empty", "mixed", "both"]).delete()
    assert list(rows(browse(LIST, query=f"?owner={admin_user.pk}"))) == ["vip"]
    assert len(rows(browse(LIST, query="?owner=0"))) == 3
    assert rows(browse(LIST, query="?tag=%00")) == {}
    page = browse(LIST, query="?tag=spring-mailing")
    assert list(rows(page)) == ["list"]
    assert ">#spring<" in page.replace("\n", "").replace(" ", "")
    assert "?tag=b" not in page
    assert list(rows(browse(LIST, query="?tag=spring"))) == ["method"]


@pytest.mark.slow
def test_list__of_a_thousand_costs_as_many_queries_as_ten(admin_client):
    url = reverse(LIST)
    many_segments(10)
    admin_client.get(url)  # Content types are cached after the first request.
    with CaptureQueriesContext(
        connection,
    ) as few:
        admin_client.get(url)
    Segment.objects.all()._raw_delete("default")
    for segment in many_segments(1000)[:100]:
        write_history(segment, range(5, 45))
    with CaptureQueriesContext(connection) as many:
        response = admin_client.get(url)
    assert len(rows(html.unescape(response.content.decode()))) == 100
    assert len(many) == len(few)


# Actions.


@pytest.mark.slow
def test_actions__switch_segments_and_log_it(users, make, browse):
    segment, other = make(), make("other", is_active=False)
    keys = [str(segment.pk), str(other.pk)]
    page = browse(LIST, action="deactivate_selected", _selected_action=keys)
    assert "1 segment deactivated." in page
    assert not Segment.objects.filter(is_active=True).exists()
    (entry,) = LogEntry.objects.all()
    assert (entry.object_id, entry.get_change_message()) == (keys[0], "Active: True -> False")
    assert "2 segments activated." in browse(
        LIST, action="activate_selected", _selected_action=keys
    )
    assert Segment.objects.filter(is_active=True).count() == 2


def test_actions__force_a_refresh(users, make, browse):
    segment = make()
    page = browse(LIST, action="force_selected", _selected_action=[str(segment.pk)])
    assert "1 segment refreshed." in page
    assert segment.refreshes.latest().status == Status.REFRESHED


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [False, True])
def test_refreshes__are_logged_with_what_was_asked(users, make, browse, settings, asynchronous):
    settings.SEGMENTS_REFRESH_ASYNC = asynchronous
    keys = [str(make(slug).pk) for slug in ("one", "two")]
    for action in ("refresh", "force", "accept_loss"):
        browse(LIST, action=f"{action}_selected", _selected_action=keys)
    browse(REFRESH, keys[0], force="1", accept_loss="1")
    words = [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]
    assert words == [
        *["Asked for a refresh"] * 2,
        *["Asked for a refresh, even if nothing has changed"] * 2,
        *["Asked for a refresh, accepting any loss"] * 2,
        "Asked for a refresh, even if nothing has changed, accepting any loss",
    ]
    assert set(LogEntry.objects.values_list("object_id", flat=True)) == set(keys)


def test_actions__are_for_people_with_the_permission(users, make, person):
    segment = make()
    client = person("view_segment")
    page = client.get(reverse(LIST)).content.decode()
    for action in ("refresh", "force", "activate", "deactivate"):
        assert f"{action}_selected" not in page
    data = {"action": "deactivate_selected", "_selected_action": [str(segment.pk)]}
    client.post(reverse(LIST), data)
    assert Segment.objects.filter(is_active=True).count() == 1


# The page of a segment.


def test_overview__has_the_error_first_with_its_caret(users, make, browse):
    segment = make()
    error = "column does not exist\nSELECT nothing\n       ^"
    Segment.objects.update(status=Status.FAILED, last_error=error, failures=2)
    page = browse(OVERVIEW, segment.pk)
    main = page.partition('id="content-main"')[2]
    assert f">{error}</pre>" in main
    assert main.index("</pre>") < main.index("<dl")
    assert "Failures in a row" in main


def test_overview__shows_the_course_and_its_numbers(users, make, browse):
    segment = make()
    SegmentRefresh.objects.all().delete()
    page = browse(OVERVIEW, segment.pk)
    assert "The chart begins with the second refresh." in page
    write_history(segment, [1200, 1500, 1100])
    page = browse(OVERVIEW, segment.pk)
    chart = page.partition('class="segments-chart"')[2].partition("</svg>")[0]
    assert "from 1,200 to 1,100 members, between 1,100 and 1,500" in page
    assert chart.count('class="entered"') == 1  # A first refresh has no bar.
    assert ">+400<" in chart
    assert chart.count('class="left"') == 1
    table = page.partition('class="segments-numbers"')[2].partition("</table>")[0]
    cells = re.findall(r"<td>([\d,]*)</td>", table)
    assert cells == ["1,100", "0", "400", "1,500", "300", "0", "1,200", "1,200", "0"]


@pytest.mark.slow
def test_overview__pages_refreshes(users, make, browse):
    segment = make()
    write_history(segment, range(1, 31))
    SegmentRefresh.objects.create(
        segment=segment, started_at=timezone.now() + timedelta(minutes=1),
        duration=timedelta(seconds=1), status=Status.FAILED, error="no\nluck",
    )  # fmt: skip
    page = browse(OVERVIEW, segment.pk)
    assert "Page 1 of 2" in page
    assert "no\nluck</pre>" in page
    assert "luck" not in browse(OVERVIEW, segment.pk, query="?p=2")


def test_overview__names_what_it_reads_and_what_reads_it(orders, make, browse):
    source = make("source", definition="SELECT user_id FROM shop_order")
    reader = make("reader", definition="SELECT user_id FROM segments.source")
    page = browse(OVERVIEW, source.pk)
    assert "<code>shop_order.user_id</code>" in page
    assert f'/{reader.pk}/overview/">Reader</a>' in page
    assert f'/{source.pk}/overview/">Source</a>' in browse(OVERVIEW, reader.pk)


def test_overview__names_views_of_others_and_rows(users, make, browse, query):
    from tests.shop.models import Offer

    segment = make()
    query("CREATE VIEW report AS SELECT count(*) FROM segments.vip")
    for n in range(3):
        Offer.objects.create(priority=n, discount=1, segment=segment)
    ((owner,),) = query("SELECT current_user")
    page = browse(OVERVIEW, segment.pk)
    assert f"<code>report</code> ({owner})" in page
    assert "3 <code>shop.Offer.segment</code>" in page


def test_overview__has_lines_that_work(users, make, browse, query):
    segment = make("a-b", definition=f"SELECT id FROM {USERS} WHERE username = 'u3'")
    lines = re.findall(r'<code id="segments-line-\d">(.*?)</code>', browse(OVERVIEW, segment.pk))
    assert query(lines[0]) == [(users[3].pk,)]
    assert lines[1].startswith('\\copy (SELECT user_id FROM "segments"."a_b")')
    assert [row[0] for row in query(lines[2])] == [users[3].pk]
    assert eval(lines[3], {"user": users[3]}) is True
    assert list(eval(lines[4], {"Segment": Segment})) == [users[3]]


def test_overview__says_who_changed_what(users, make, browse, admin_user):
    segment = make()
    assert "Nobody has changed it yet" in browse(OVERVIEW, segment.pk)
    browse(LIST, action="deactivate_selected", _selected_action=[str(segment.pk)])
    page = browse(OVERVIEW, segment.pk).partition("Who changed what")[2]
    assert "Active: True -> False" in page
    assert str(admin_user) in page


def changes_on(page):
    """Return who changed what, by the section of the page of a segment."""
    section = page.partition('id="segments-log"')[2].partition("</section>")[0]
    found = re.findall(r"<tr><th[^>]*>.*?</th><td>(.*?)</td><td[^>]*>(.*?)</td></tr>", section)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in cells] for cells in found]


@pytest.mark.slow
def test_overview__has_changes_by_code_among_those_in_the_admin(users, make, browse, admin_user):
    segment = make()
    segment.definition = f"SELECT id FROM {USERS} WHERE username < 'u4'"
    segment.save()
    browse(LIST, action="deactivate_selected", _selected_action=[str(segment.pk)])
    LogEntry.objects.update(action_time=timezone.now() + timedelta(seconds=1))
    segment.add([users[7], users[8]])
    segment.versions.filter(ids_added=2).update(replaced_at=timezone.now() + timedelta(hours=1))
    assert changes_on(browse(OVERVIEW, segment.pk)) == [
        ["by code", "List: 2 added, 0 removed · Versions"],
        ["admin", "Active: True -> False"],
        ["by code", "Definition · Versions"],
    ]
    later = timezone.now() + timedelta(hours=2)
    segment.versions.filter(ids_added=2).update(replaced_by=admin_user, replaced_at=later)
    assert changes_on(browse(OVERVIEW, segment.pk))[0] == [
        "admin", "List: 2 added, 0 removed · Versions",
    ]  # fmt: skip


@pytest.mark.slow
def test_overview__has_changes_in_the_admin_once(users, make, browse):
    segment = make(definition=f"SELECT id FROM {USERS} WHERE username < 'u4'")
    browse(
        CHANGE, segment.pk, **form(name="Vip", slug="vip", definition=f"SELECT id FROM {USERS}")
    )
    load = {"text": f"{users[1].pk}", "mode": "add", "by": ""}
    browse("admin:segments_segment_list", segment.pk, **load)
    assert segment.versions.count() == 2
    found = changes_on(browse(OVERVIEW, segment.pk))
    assert [who for who, _ in found] == ["admin", "admin"]
    assert "1 line" in found[0][1]
    assert "Definition" in found[1][1]
    LogEntry.objects.update(user=users[0])  # Somebody else did something in that minute.
    assert len(changes_on(browse(OVERVIEW, segment.pk))) == 4


@pytest.mark.slow
def test_overview__pages_changes_at_a_constant_cost(users, make, admin_client, admin_user):
    segment = make()
    url = reverse(OVERVIEW, args=[segment.pk])

    def change(number):
        now = timezone.now()
        content_type = get_content_type_for_model(segment)
        for n in range(number):
            version = segment.versions.create(fields=defining(segment), ids_added=n + 1)
            segment.versions.filter(pk=version.pk).update(replaced_at=now - timedelta(hours=2 * n))
            entry = LogEntry.objects.create(
                user=admin_user, content_type=content_type, object_id=str(segment.pk),
                action_flag=2, change_message=f"message {n}",
            )  # fmt: skip
            LogEntry.objects.filter(pk=entry.pk).update(
                action_time=now - timedelta(hours=2 * n + 1)
            )

    change(1)
    admin_client.get(url)
    with CaptureQueriesContext(connection) as few:
        admin_client.get(url)
    change(29)
    with CaptureQueriesContext(connection) as many:
        page = html.unescape(admin_client.get(url).content.decode())
    assert len(many) == len(few)
    assert len(changes_on(page)) == 20
    shown = changes_on(page)
    for number in (2, 3):
        assert f"?log={number}&p=1&days=#segments-log" in page
        page = html.unescape(admin_client.get(f"{url}?log={number}").content.decode())
        shown += changes_on(page)
    assert len(shown) == 60
    assert [who for who, _ in shown[4:]] == ["by code", "admin"] * 28


@pytest.mark.slow
def test_overview__costs_the_same_for_a_long_history(users, make, admin_client):
    segment = make()
    url = reverse(OVERVIEW, args=[segment.pk])
    admin_client.get(url)
    with CaptureQueriesContext(connection) as short:
        admin_client.get(url)
    write_history(segment, range(1, 500))
    with CaptureQueriesContext(connection) as long:
        page = admin_client.get(url).content.decode()
    assert len(long) <= len(short) + 1
    assert page.count("<title>") < 450  # The chart has the last 200 refreshes.


def test_overview__follows_permissions(users, make, person):
    segment = make()
    client = person("view_segment")
    page = client.get(reverse(OVERVIEW, args=[segment.pk])).content.decode()
    assert "/members/" not in page
    assert "/refresh/" not in page
    assert client.post(reverse(REFRESH, args=[segment.pk])).status_code == 403
    assert segment.refreshes.count() == 1


def test_pages__are_refused_without_the_permission_to_view(users, make, person):
    segment = make()
    client = person("add_user")
    for name, args in ((LIST, []), (OVERVIEW, [segment.pk]), (PROGRESS, [])):
        assert client.get(reverse(name, args=args)).status_code == 403


def test_pages__have_nothing_inline_and_escape(users, make, admin_client):
    evil = "<script>alert(1)</script>"
    segment = make(description=evil)
    Segment.objects.update(name=evil, last_error=evil, status=Status.FAILED)
    write_history(segment, [1, 2, 3])
    for name, args in ((LIST, []), (OVERVIEW, [segment.pk])):
        raw = admin_client.get(reverse(name, args=args)).content.decode()
        assert strict(raw) == []
        assert "&lt;script&gt;alert(1)" in raw


def test_pages__keep_keys_whole_with_thousands_separators(users, make, browse, settings, query):
    settings.USE_THOUSAND_SEPARATOR = True
    query("SELECT setval(pg_get_serial_sequence('segments_segment', 'id'), 1234567)")
    query(f"SELECT setval(pg_get_serial_sequence('{USERS}', 'id'), 7654321)")
    user = type(users[0]).objects.create(username="late")
    segment = make(static_ids=[user])
    assert segment.pk > 1234567
    page = browse(LIST)
    for name in ("overview", "members"):
        assert f"/{segment.pk}/{name}/" in page
    assert f'data-segment="{segment.pk}"' in page
    assert "1,234,5" not in page
    overview = browse(OVERVIEW, segment.pk)
    assert "1,234,5" not in overview
    members = browse("admin:segments_segment_members", segment.pk)
    assert f"<td>{user.pk}</td>" in members
    assert "7,654" not in members


def test_pages__work_behind_a_prefix(users, make, admin_client):
    segment = make()
    urls = [reverse(LIST), reverse(OVERVIEW, args=[segment.pk])]
    set_script_prefix("/shop/")
    try:
        pages = "".join(admin_client.get(url).content.decode() for url in urls)
    finally:
        set_script_prefix("/")
    links = set(re.findall(r'(?:href|action|data-url)="(/[^"]*)"', pages)) - {admin.site.site_url}
    assert len(links) > 10
    assert [link for link in links if not link.startswith(("/shop/", "/static/"))] == []


@pytest.mark.slow
def test_pages__work_with_hashed_static_files(users, make, admin_client, settings, tmp_path):
    settings.STATIC_ROOT = str(tmp_path)
    manifest = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": manifest}}
    call_command("collectstatic", interactive=False, verbosity=0)
    segment = make()
    for url in (reverse(LIST), reverse(OVERVIEW, args=[segment.pk])):
        page = admin_client.get(url).content.decode()
        for name in ("css", "js"):
            assert re.search(rf"/static/segments/pages\.[0-9a-f]{{12}}\.{name}", page)


# Progress.


def test_refresh__in_the_request_says_what_came_of_it(users, make, browse):
    segment = make()
    page = browse(REFRESH, segment.pk, force="1")
    assert "1 segment refreshed." in page
    assert segment.refreshes.latest().status == Status.REFRESHED
    news = browse(PROGRESS, query=f"?segment={segment.pk}")
    assert '"busy": false' in news
    assert "Vip: 11 members after" in news


def test_refresh__needs_a_post(users, make, admin_client):
    assert admin_client.get(reverse(REFRESH, args=[make().pk])).status_code == 405


def test_refresh__by_a_worker_waits_in_sight(users, make, browse, settings):
    settings.SEGMENTS_REFRESH_ASYNC = True
    segment = make()
    page = browse(REFRESH, segment.pk, any="1")
    assert "A worker will refresh 1 segment." in page
    assert 'data-word="queued"' in page
    assert word(rows(browse(LIST))["vip"]) == "queued"
    segment.refresh(force=True)
    assert word(rows(browse(LIST))["vip"]) == "refreshed"


def test_refresh__that_was_seen_is_no_longer_asked_for(users, make, browse, settings):
    settings.SEGMENTS_REFRESH_ASYNC = True
    segment = make()
    browse(REFRESH, segment.pk, any="1")
    segment.refresh(force=True)
    Segment.objects.update(
        attempted_at=None, status=Status.OUTDATED
    )  # As another definition does.
    assert word(rows(browse(LIST))["vip"]) == "outdated"


def test_refresh__of_a_detached_segment_does_not_wait(users, make, browse, settings):
    from segments.sync.detach import detach

    settings.SEGMENTS_REFRESH_ASYNC = True
    segment = make()
    browse(REFRESH, segment.pk, any="1")
    list(detach(["vip"]))
    assert word(rows(browse(LIST))["vip"]) == "detached"


def test_progress__of_a_failure_says_why(failing, browse):
    with pytest.raises(Exception, match="division"):
        failing.refresh()
    news = browse(PROGRESS, query=f"?segment={failing.pk}")
    assert '"word": "failing"' in news
    assert "division by zero" in news


# Charts.


def heights(chart):
    """Return how high the line of sizes is at each refresh."""
    path = re.search(r'class="size" d="([^"]*)"', chart)[1]
    return [150 - float(y) for y in re.findall(r"[,V]([\d.]+)", path)]


def chart_of(*counts):
    now = timezone.now()
    before = [0, *counts]
    return charts.size_chart(
        [
            charts.Point(now + timedelta(hours=n), size, max(size - was, 0), max(was - size, 0))
            for n, (was, size) in enumerate(zip(before, counts, strict=False))
        ]
    )


def test_chart__begins_at_zero():
    chart = chart_of(600, 300, 1200)
    assert [round(height / heights(chart)[2], 2) for height in heights(chart)] == [0.5, 0.25, 1]
    assert ">0</text>" in chart


def test_chart__of_small_changes_shows_them():
    chart = chart_of(1000, 1010, 1020)
    assert [round(height / heights(chart)[2], 2) for height in heights(chart)] == [0, 0.5, 1]
    assert ">1,000</text>" in chart
    assert ">0</text>" not in chart


def test_chart__draws_bars_to_one_scale():
    chart = chart_of(1200, 1500, 1350)
    bars = re.findall(r'<rect class="(\w+)"[^>]* height="([\d.]+)"', chart)
    assert bars == [("entered", "29.0"), ("left", "14.5")]


def test_chart__that_begins_later_draws_its_first_change():
    now = timezone.now()
    chart = charts.size_chart(
        [charts.Point(now, 1000, 500, 0), charts.Point(now + timedelta(hours=1), 1250, 250, 0)]
    )
    assert re.findall(r'<rect [^>]* height="([\d.]+)"', chart) == ["29.0", "14.5"]


def test_chart__of_more_refreshes_than_points_adds_them_up():
    now = timezone.now()
    points = [charts.Point(now, 10, 10, 0)]
    points += [charts.Point(now + timedelta(hours=n), 10 + n, 2, 1) for n in range(1, 501)]
    merged = charts.merged(points, 200)
    assert merged[0] == points[0]
    assert (merged[1].members, merged[1].entered, merged[1].left) == (13, 6, 3)
    assert merged[-1].at == points[-1].at
    assert len(merged) <= 200
    assert sum(point.entered for point in merged) == sum(point.entered for point in points)
    assert charts.merged(points[:200], 200) == points[:200]
    assert charts.merged([], 200) == []


@pytest.mark.slow
def test_overview__shows_parts_of_the_history(users, make, browse):
    segment = make()
    SegmentRefresh.objects.all().delete()
    write_history(segment, range(1000, 1500), every=timedelta(hours=3))  # About 62 days.
    numbers = {}
    for days in ("", "30", "all", "x"):
        page = browse(OVERVIEW, segment.pk, query=f"?days={days}")
        table = page.partition('class="segments-numbers"')[2].partition("</table>")[0]
        numbers[days] = re.findall(r"<td>([\d,]+)</td>", table)[::3]
    assert (numbers[""][-1], len(numbers[""])) == ("1,300", 200)
    assert numbers["x"] == numbers[""]
    assert (numbers["30"][-1], numbers["all"][-1]) == ("1,261", "1,000")
    assert {row[0] for row in numbers.values()} == {"1,499"}
    assert "500 refreshes, drawn as 168 points" in browse(OVERVIEW, segment.pk, query="?days=all")
    assert "&days=all#segments-refreshes" in browse(OVERVIEW, segment.pk, query="?days=all")


def chart_on(page):
    return page.partition('class="segments-chart"')[2].partition("</svg>")[0]


def test_chart__of_a_month_begins_where_the_size_is_known(users, make, browse):
    segment = make()
    SegmentRefresh.objects.all().delete()
    assert "not refreshed in this time or before" in browse(OVERVIEW, segment.pk, query="?days=30")
    write_history(segment, [1200], every=timedelta(days=15))
    chart = chart_on(browse(OVERVIEW, segment.pk, query="?days=30"))
    middle, end = re.search(r'class="size" d="M([\d.]+),[\d.]+H([\d.]+)"', chart).groups()
    assert (round(float(middle)), end) == (409, "748")
    assert f'<circle class="first" cx="{middle}"' in chart
    assert "<rect" not in chart
    SegmentRefresh.objects.update(started_at=timezone.now() - timedelta(days=40))
    page = browse(OVERVIEW, segment.pk, query="?days=30")
    assert re.search(r'class="size" d="M70.0,[\d.]+H748"', chart_on(page))
    assert "The line is what is known from before." in page
    assert "<circle" not in chart_on(page)
    assert "segments-numbers" not in page
    assert "The chart begins with the second refresh." in browse(OVERVIEW, segment.pk)


def test_chart__marks_refreshes_after_another_definition(users, make, browse):
    segment = make(refresh_every=3600)
    segment.refresh(force=True)
    assert "redefined" not in browse(OVERVIEW, segment.pk)
    segment.definition = f"SELECT id FROM {USERS} WHERE username < 'u4'"
    segment.save()
    segment.refresh(force=True)
    for days in ("", "30", "all"):
        page = browse(OVERVIEW, segment.pk, query=f"?days={days}")
        assert chart_on(page).count('class="redefined"') == 1
        assert "the first refresh after a change of the definition, 5 members" in chart_on(page)
        table = page.partition('class="segments-numbers"')[2].partition("</table>")[0]
        cells = re.findall(r"<td>([^<]*)</td>", table)
        assert cells[:8] == ["5", "0", "0", "", "5", "0", "6", "changed before"]


def test_chart__does_not_mark_changes_of_a_list(users, make, browse):
    segment = make(static_ids=users[:3])
    segment.add([users[4]])
    segment.add([users[5]])
    assert segment.versions.count() == 2
    page = browse(OVERVIEW, segment.pk)
    assert 'class="segments-chart"' in page
    assert "redefined" not in page


def test_chart__of_merged_points_keeps_marks():
    now = timezone.now()
    points = [charts.Point(now + timedelta(hours=n), 10, redefined=n == 7) for n in range(501)]
    assert [n for n, point in enumerate(charts.merged(points, 200)) if point.redefined] == [3]


# Times.


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Jan. 5, 2026, 12:00:07 p.m."),
        ("en-gb", "5 Jan 2026, 12:00:07 p.m."),
        ("de", "5. Januar 2026 12:00:07"),
        ("fi", "5. tammikuuta 2026 kello 12.00.07"),
        ("uz", "5-yanvar, 2026-yil 12:00:07"),
    ],
)
def test_moment__has_seconds_in_each_language(language, text, settings):
    settings.TIME_ZONE = "UTC"
    with translation.override(language):
        assert charts.moment(datetime(2026, 1, 5, 12, 0, 7, tzinfo=UTC)).lower() == text.lower()


def test_moment__of_a_format_with_seconds_has_them_once(settings):
    settings.TIME_ZONE = "UTC"
    settings.FORMAT_MODULE_PATH = "tests.admin.formats"
    at = datetime(2026, 1, 5, 12, 0, 7, tzinfo=UTC)
    with translation.override("en"):
        reset_format_cache()
        try:
            assert charts.moment(at) == "2026-01-05 12:00:07"
        finally:
            settings.FORMAT_MODULE_PATH = None
            reset_format_cache()


def test_refreshes__of_one_minute_are_told_apart(users, make, browse):
    segment = make()
    SegmentRefresh.objects.all().delete()
    write_history(segment, [5, 7, 6], every=timedelta(seconds=2))
    page = browse(OVERVIEW, segment.pk)
    times = {charts.moment(row.started_at) for row in segment.refreshes.all()}
    assert len(times) == 3
    refreshes = page.partition('id="segments-refreshes"')[2]
    table = page.partition('class="segments-numbers"')[2].partition("</table>")[0]
    for part in (refreshes, table):
        assert {*re.findall(r'<th scope="row">([^<]*)<', part)} >= times
    for row in segment.refreshes.all():
        shown = browse("admin:segments_segment_changes", segment.pk, query=f"?refresh={row.pk}")
        assert f"In the refresh of {charts.moment(row.started_at)}" in shown
