"""What makes the admin's pages safe: their transactions, and errors shown in place of a crash."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import NestedObjects
from django.db import connections, router
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.translation import gettext as _

from segments import conf
from segments.exceptions import SegmentError
from segments.models import Segment
from segments.rows import write_alias
from segments.sql import session


class SegmentCollector(NestedObjects):
    """The objects deleted together with segments, without the rows of this package."""

    def related_objects(self, related_model: Any, related_fields: Any, objs: Any) -> Any:
        """Return the rows that refer to these objects; none for models of this package."""
        rows = super().related_objects(related_model, related_fields, objs)
        own = related_model._meta.app_label == Segment._meta.app_label
        return rows.none() if own else rows


class SafePages(admin.ModelAdmin):  # type: ignore[type-arg]
    """Pages in which segments can be saved, refreshed and deleted, and that show why not."""

    def get_urls(self) -> list[URLPattern]:
        """Run each page in transactions that segments can be saved and refreshed in."""
        patterns = super().get_urls()
        for pattern in patterns:
            pattern.callback = _read_committed(pattern.callback)
        return patterns

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show which segments and views read this one, if that prevents its deletion."""
        return self._call_view(request, super().delete_view, args, kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show which segments and views read the selected ones, if that prevents deletion."""
        return self._call_view(request, super().changelist_view, args, kwargs)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """List what else is deleted, without memberships and history: those may be millions."""
        collector = SegmentCollector(using=router.db_for_write(Segment), origin=objs)
        collector.collect(objs)
        objects: dict[Any, Any] = dict(collector.model_objs)
        needed = {
            model._meta.verbose_name
            for model in objects
            if self.admin_site.is_registered(model)
            and not self.admin_site.get_model_admin(model).has_delete_permission(request)
        }
        counts = {model._meta.verbose_name_plural: len(rows) for model, rows in objects.items()}
        protected = [*map(str, collector.protected), *_read_by_others(objs)]
        return collector.nested(str), counts, needed, protected

    def _call_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse:
        """Call a view; if it raises a SegmentError, return to the page and show it."""
        try:
            response: HttpResponse = view(request, *args, **kwargs)
        except SegmentError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return response


def _read_by_others(segments: Iterable[Segment]) -> Iterator[str]:
    """Yield which segments and views read these, and so have to be changed before."""
    deleted = {segment.slug for segment in segments}
    for segment in segments:
        usage = segment.used_by()
        others = [slug for slug in usage.segments if slug not in deleted]
        for reader in (*others, *(view.name for view in usage.views)):
            yield _("%(reader)s, which reads %(slug)s") % {"reader": reader, "slug": segment.slug}


def _read_committed(view: Any) -> Any:
    """Return a page whose transactions are READ COMMITTED, whatever `DATABASES` says."""

    @wraps(view)
    def page(*args: Any, **kwargs: Any) -> Any:
        # On an alias of their own, definitions have transactions of their own, except in a
        # transaction of the request.
        evaluating = connections[conf.exec_connection()]
        aliases = {write_alias()} | ({evaluating.alias} if evaluating.in_atomic_block else set())
        with ExitStack() as stack:
            for alias in aliases:
                stack.enter_context(session.read_committed(alias))
            return view(*args, **kwargs)

    return page
