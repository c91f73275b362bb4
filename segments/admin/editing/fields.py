"""The fields of the form whose text people write, and the choice of a kind."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.utils.translation import gettext_lazy as _

from segments import conf
from segments.admin.editing.intervals import in_words, parse_interval
from segments.admin.editing.listed import paste_help
from segments.definition.kinds import Choice, Manager, Sql
from segments.definition.methods import all_methods
from segments.exceptions import SegmentCostError, SegmentError, SegmentReadersError

BOXES = ("delete_list", "allow_cost", "rewrite_readers", "skip_bad", "begin_empty")
"""The fields of the form that are hidden until saving asks for them."""

OVERRIDES: tuple[tuple[type[SegmentError], str, Any], ...] = (
    (
        SegmentCostError,
        "allow_cost",
        _("Make it cheaper (is an index missing?), or tick “Save it although it is expensive”."),
    ),
    (
        SegmentReadersError,
        "rewrite_readers",
        _("Keep the slug, or tick “Rewrite the definitions that read it”."),
    ),
)
"""Errors that a box of the form overrides: the box, and the hint at it."""

OF_LIST = ("static_ids", "file", "by", "skip_bad", "begin_empty")
"""The fields of the form for the list of a segment that has none yet."""

OF_KINDS = {"definition", "method", *OF_LIST}
"""The fields of the form that only some kinds have."""

OF_METHOD = {"model", "manager_name", "manager_method"}
"""The fields of the model that the field `method` stands for."""

NEEDED: dict[Any, tuple[str, Any]] = {
    Sql: ("definition", _("Write the SQL that returns the users, or choose another kind.")),
    Manager: ("method", _("Choose the method that returns the users, or choose another kind.")),
}
"""The field that a kind cannot be without, and what to say if it is empty."""


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
        "invalid": _(
            "Write a length of time with its unit, such as “1 hour”, “every 30 minutes” or “PT1H”."
        ),
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

    def offer(self, label: Any, choices: Sequence[Choice]) -> None:
        """Set what the choice is called, and the kinds."""
        self.label = label
        self.choices = [(choice.word, choice.label) for choice in choices]
        self.fields = {choice.word: fields_of(choice) for choice in choices}

    def get_context(self, *args: Any) -> dict[str, Any]:
        """Add the fields of the kinds."""
        context: dict[str, Any] = super().get_context(*args)
        context["widget"]["label"] = self.label
        for _group, options, _index in context["widget"]["optgroups"]:
            for option in options:
                option["attrs"]["data-fields"] = " ".join(self.fields[option["value"]])
        return context


class ErrorPlaces(forms.BaseForm):
    """A form of a segment that puts errors beside the fields that they are about.

    Attributes:
        choice: The kind that was chosen, if there is a choice.
        places: The errors with a place in the definition: message, line and column, from 1.
    """

    choice: Choice | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.places: list[dict[str, Any]] = []

    def add_segment_error(self, error: SegmentError) -> None:
        """Put an error beside the field that it names."""
        failure = ValidationError(str(error), code=error.field)
        failure.__cause__ = error
        self.add_error(None, ValidationError({NON_FIELD_ERRORS: [failure]}))

    def add_error(self, field: str | None, error: Any) -> None:
        """Put an error of `Segment.clean()` beside the field that its code names."""
        if field is None and isinstance(error, ValidationError) and hasattr(error, "error_dict"):
            for item in error.error_dict.pop(NON_FIELD_ERRORS, []):
                super().add_error(self._place(item.code), ValidationError(self._texts(item)))
            if not error.error_dict:
                return
        super().add_error(field, error)

    def _place(self, code: str | None) -> str | None:
        """Return the field for an error, of those that the chosen kind shows; None for the top."""
        target = "method" if code in OF_METHOD else code
        if self.choice and target in OF_KINDS - set(fields_of(self.choice)):
            target = NEEDED.get(self.choice.kind, (None, ""))[0]
        return target if target in self.fields else None

    def _texts(self, error: ValidationError) -> list[str]:
        """Return the messages of an error; if the user may override it, they say how."""
        cause = error.__cause__
        if not isinstance(cause, SegmentError):
            return error.messages
        for kind, box, hint in OVERRIDES:
            if isinstance(cause, kind) and box in self.fields:
                self.show(box)
                cause.hint = str(hint)
        if cause.line and cause.field == "definition":
            self.places.append(place_of(cause))
        return [str(cause)]

    def show(self, box: str) -> None:
        """Show a box of the form that was hidden."""
        if box in self.fields:
            self.fields[box].widget = forms.CheckboxInput()


def plain_lines(text: str) -> str:
    """Return a text with line feeds at the ends of its lines, and no space at its own."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip()


def place_of(error: SegmentError) -> dict[str, Any]:
    """Return where in a definition an error is, for the editor."""
    return {name: getattr(error, name) for name in ("message", "line", "column", "excerpt")}


def fields_of(choice: Choice) -> list[str]:
    """Return the fields of the form that belong to a kind."""
    of_query = [NEEDED[choice.kind][0], "allow_cost"] if choice.kind in NEEDED else []
    of_list = ["list_count", *OF_LIST] if choice.listed else ["delete_list"]
    return [*of_query, *of_list]


HELP_OF_STATE = {
    "view_name": _("Where SQL and other tools read its members."),
    "next_refresh": _("A dash means that nothing refreshes it by itself; see “Refresh every”."),
}
"""Help texts of what nobody edits."""


def current_help() -> dict[str, Any]:
    """Return help texts by field: those that say what holds while the field is empty."""
    every, timeout, loss = conf.refresh_every(), conf.statement_timeout(), conf.max_loss()
    return {
        "static_ids": _joined(
            paste_help(),
            _("If there is SQL as well, they are in the segment whatever it says."),
        ),
        "slug": _(
            "Its name in code and in other tools: a-z, digits, hyphens and underscores. The name "
            "fills it in."
        ),
        "priority": _("Segments with a higher number are refreshed first."),
        "is_active": _("If not, scheduled refreshes skip it, and its members stay as they are."),
        "track_changes": _("Keeps who entered and who left at each refresh."),
        "refresh_every": _joined(
            _("“1 hour”, “every 30 minutes”, “daily” or “PT6H”."),
            _("Empty means that no schedule refreshes it.")
            if every is None
            else _("Empty means every %s, as the settings say.") % in_words(every),
        ),
        "timeout": _joined(
            _("How long its queries may run, such as “5 minutes”."),
            _("Empty means %s, as the settings say.") % in_words(timeout)
            if timeout
            else _("Empty means no limit."),
        ),
        "max_loss": _joined(
            _(
                "How many percent of its members one refresh may remove; a refresh that would "
                "remove more is refused, unless the definition was changed."
            ),
            _("Empty or 100 means no limit.")
            if loss is None
            else _("Empty means %s, as the settings say, and 100 means no limit.") % loss,
        ),
    }


def _joined(*sentences: Any) -> str:
    return " ".join(map(str, sentences))
