"""The fields of the form whose text people write, and the choice of a kind."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from segments.admin.editing.intervals import in_words, parse_interval
from segments.definition.kinds import Choice
from segments.definition.methods import all_methods


class LinesField(forms.CharField):
    """Lines of text. Browsers add carriage returns, which must not count as a change."""

    def to_python(self, value: Any) -> str:
        """Return the text without carriage returns, and without space at its end."""
        return plain_lines(super().to_python(value) or "")

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Return whether the lines differ, whatever ends them."""
        return plain_lines(initial or "") != plain_lines(data or "")


class IntervalField(forms.DurationField):
    """A length of time in words, such as `every hour`, or in any form that Django reads."""

    widget = forms.TextInput
    default_error_messages = {  # noqa: RUF012
        "invalid": _("Write a length of time, such as “1 hour”, “every 30 minutes” or “PT1H”."),
    }

    def prepare_value(self, value: Any) -> Any:
        """Return a length of time in words."""
        return in_words(value) if isinstance(value, timedelta) else value

    def to_python(self, value: Any) -> timedelta | None:
        """Return the length of time that a text names."""
        if value in self.empty_values or isinstance(value, timedelta):
            return value if isinstance(value, timedelta) else None
        found = parse_interval(str(value))
        if found is None:
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return found


class MethodField(forms.ChoiceField):
    """A manager method that defines a segment, chosen from those that exist."""

    def offer(self, current: str) -> None:
        """Fill in the choices.

        Args:
            current: The method of the segment. It can be kept even if it no longer exists.
        """
        groups: dict[str, list[tuple[str, str]]] = {}
        for method in all_methods():
            options = groups.setdefault(str(method.model._meta.verbose_name).capitalize(), [])
            label = f"{method.manager}.{method.name}"
            options.append((method.address, f"{label}: {method.summary}".rstrip(": ")))
        choices: list[Any] = [("", "---------"), *groups.items()]
        known = {address for options in groups.values() for address, _label in options}
        if current and current not in known:
            choices.append((current, _("%s (not found)") % current))
        self.choices = choices


class KindSelect(forms.RadioSelect):
    """Radio buttons for the kind of a segment; they say which fields belong to each."""

    template_name = "segments/kind.html"

    def offer(self, label: Any, choices: Iterable[Choice], fields: dict[str, list[str]]) -> None:
        """Set what the choice is called, the kinds, and the names of the fields of each."""
        self.label = label
        self.choices = [(choice.word, choice.label) for choice in choices]
        self.fields = fields

    def get_context(self, *args: Any) -> dict[str, Any]:
        """Add the fields of the kinds."""
        context: dict[str, Any] = super().get_context(*args)
        context["widget"]["label"] = self.label
        for _group, options, _index in context["widget"]["optgroups"]:
            for option in options:
                option["attrs"]["data-fields"] = " ".join(self.fields[option["value"]])
        return context


def plain_lines(text: str) -> str:
    """Return a text with line feeds at the ends of its lines, and no space at its own."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip()
