"""The filters of the list: status, kind, owner, and tags in descriptions."""

import re
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.db.models import CharField, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Cast
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from segments import conf
from segments.admin.state import STORED, Word, detached_views, working
from segments.definition.kinds import CHOICES, QUERY_KINDS, StaticList
from segments.models import Segment, StaticMember
from segments.refreshing import schedule
from segments.rows import with_slugs

TAG = re.compile(r"(?<!\S)#[\w-]+")
"""A tag in a description: a word after a number sign."""

MAX_OWNERS = 50


class SituationFilter(admin.SimpleListFilter):
    """Filters by the words that the list shows."""

    title = _("status")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the words, but for that of the user's own requests."""
        words = [(word.value, word.label) for word in Word if word != Word.QUEUED]
        return [*words, ("inactive", _("inactive"))]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> "QuerySet[Segment]":
        """Return the segments that are doing so."""
        value = self.value()
        if value is None:
            return queryset
        if value == "inactive":
            return queryset.filter(is_active=False)
        stored = {word: status for status, word in STORED.items()}
        busy, detached = _busy(), _detached()
        if value == Word.REFRESHING:
            return queryset.filter(busy)
        if value == Word.DETACHED:
            return queryset.filter(detached).exclude(busy)
        rest = queryset.exclude(busy).exclude(detached)
        if value in stored:
            return rest.filter(status=stored[Word(value)])
        rest = rest.exclude(status__in=STORED)
        times = schedule.due_times(Segment.objects.filter(is_active=True))
        scheduled = [segment.pk for segment, _ in times]
        due = [segment.pk for segment in schedule.due(segment for segment, _ in times)]
        if value == Word.REFRESHED:
            return rest.exclude(pk__in=scheduled)
        due_rows = Q(pk__in=due)
        return rest.filter(due_rows if value == Word.DUE else Q(pk__in=scheduled) & ~due_rows)


class KindFilter(admin.SimpleListFilter):
    """Filters by the kind of definition."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return all ways to define a segment."""
        return [(choice.word, choice.label) for choice in CHOICES]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> "QuerySet[Segment]":
        """Return the segments of the kind: those without the fields of the kinds before it."""
        choice = next((choice for choice in CHOICES if choice.word == self.value()), None)
        if choice is None:
            return queryset
        for kind in QUERY_KINDS:
            has_field = ~Q(**{kind.field or "": ""})
            if kind is choice.kind:
                queryset = queryset.filter(has_field)
                break
            queryset = queryset.exclude(has_field)
        if choice.kind is StaticList:  # Its list may be empty.
            return queryset
        return queryset.filter(has_list() if choice.listed else ~has_list())


class OwnerFilter(admin.SimpleListFilter):
    """Filters by who has added a segment in the admin."""

    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the users who have added segments."""
        owners = get_user_model()._base_manager.filter(pk__in=_additions().values("user_id"))
        return [(str(owner.pk), str(owner)) for owner in owners.order_by("pk")[:MAX_OWNERS]]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> "QuerySet[Segment]":
        """Return the segments that the user has added."""
        owner: Any = self.value()
        if owner not in [value for value, _ in self.lookup_choices]:
            return queryset
        added = _additions().filter(user_id=owner).values("object_id")
        return queryset.alias(key=Cast("pk", CharField())).filter(key__in=added)


class TagFilter(admin.SimpleListFilter):
    """Filters by tags: words after a number sign in descriptions."""

    title = _("tag")
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the tags in use."""
        tagged = Segment.objects.filter(description__contains="#").order_by()
        texts = tagged.values_list("description", flat=True)
        return [(tag[1:], tag) for tag in sorted({tag for text in texts for tag in tags(text)})]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> "QuerySet[Segment]":
        """Return the segments with the tag."""
        if not self.value():
            return queryset
        if "\0" in (self.value() or ""):  # Postgres has no such text.
            return queryset.none()
        pattern = rf"(^|\s)#{re.escape(self.value() or '')}($|[^\w-])"
        return queryset.filter(description__regex=pattern)


def has_list() -> Exists:
    """Return the condition that the list of a segment has any id."""
    return Exists(StaticMember.objects.filter(segment=OuterRef("pk")))


def tags(description: str) -> list[str]:
    """Return the tags in a description, such as #mailing."""
    return TAG.findall(description)


def _additions() -> "QuerySet[LogEntry]":
    """Return the log of segments that were added."""
    content_type = ContentType.objects.get_for_model(Segment)
    return LogEntry.objects.filter(content_type=content_type, action_flag=ADDITION)


def _busy() -> Q:
    keys = Segment.objects.order_by().values_list("pk", flat=True)
    return Q(pk__in=working([*keys]))


def _detached() -> Q:
    names = detached_views(connections[conf.exec_connection()])
    rows = with_slugs(Segment.objects.order_by(), names)
    return Q(pk__in=[*rows.values_list("pk", flat=True)] if names else [])
