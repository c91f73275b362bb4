"""The form that saves or previews a segment."""

from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.forms.models import construct_instance
from django.utils.translation import gettext_lazy as _

from segments.admin.editing.fields import (
    IntervalField,
    KindSelect,
    LinesField,
    MethodField,
    plain_lines,
)
from segments.admin.editing.listed import has_list, is_listed
from segments.definition.kinds import CHOICES, Choice, Manager, Sql, choice_of
from segments.definition.methods import address_of, set_method
from segments.exceptions import SegmentCostError, SegmentError, SegmentReadersError
from segments.models import Segment
from segments.validation.preview import Preview

DEFINING = ("kind", "definition", "allow_cost", "method")
"""The fields for users who may write definitions."""

OF_METHOD = {"model", "manager_name", "manager_method"}
"""The fields of the model that the field `method` stands for."""

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


class SegmentForm(forms.ModelForm):  # type: ignore[type-arg]
    """A segment, by its kind. Ids are pasted into it only until there is a list, which has a page.

    Attributes:
        previewing: Whether to preview the segment instead of saving it; it is not valid then.
        may_define: Whether the definition may be changed; the list may be in any case.
        preview: The preview, if there is one and it has not failed.
        places: The errors with a place in the definition: message, line and column, from 1.
        listed: Whether the list of the saved segment has any ids.
    """

    previewing = False
    may_define = True
    preview: Preview | None = None

    kind = forms.ChoiceField(label=_("Kind"), required=False, widget=KindSelect)
    definition = LinesField(
        label=_("Definition"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 12, "class": "vLargeTextField segments-sql"}),
        help_text=_("One SELECT that returns user ids. Ctrl+Space completes names."),
    )
    method = MethodField(
        label=_("Method"),
        required=False,
        help_text=_("Methods of managers that need no arguments. They return users or their ids."),
    )
    static_ids = LinesField(
        label=_("User ids"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 5, "class": "vLargeTextField"}),
        help_text=_("One user id a line. These users are in the segment whatever its SQL says."),
    )
    # Both are hidden until an error is one that they override.
    allow_cost = forms.BooleanField(
        label=_("Save it although it is expensive"), required=False, widget=forms.HiddenInput
    )
    rewrite_readers = forms.BooleanField(
        label=_("Rewrite the definitions that read it"),
        required=False,
        widget=forms.HiddenInput,
    )

    class Meta:
        model = Segment
        fields = (
            "name",
            "slug",
            "description",
            "definition",
            "priority",
            "refresh_every",
            "timeout",
            "max_loss",
            "is_active",
        )
        widgets = {  # noqa: RUF012
            "description": forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
        }
        field_classes = {  # noqa: RUF012
            "refresh_every": IntervalField,
            "timeout": IntervalField,
        }
        help_texts = {  # noqa: RUF012
            "refresh_every": _(
                "“1 hour”, “every 30 minutes”, “daily” or “PT6H”. Empty means that "
                "no schedule refreshes it."
            ),
            "timeout": _(
                "How long its queries may run, such as “5 minutes”. Empty means the "
                "setting's value."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.places: list[dict[str, Any]] = []
        self.listed = has_list(self.instance)
        if is_listed(self.instance):
            self.fields.pop("static_ids", None)
        if self.may_define:
            self._offer_kinds()
        else:
            for name in DEFINING:
                self.fields.pop(name, None)
        for _error, box, _hint in OVERRIDES:
            if self.data.get(self.add_prefix(box)):
                self._show(box)
        if self.previewing:
            for field in self.fields.values():
                field.required = False

    def _offer_kinds(self) -> None:
        current = choice_of(self.instance, self.listed)
        if not self.instance.pk:
            current = CHOICES[0]
        elif self.instance.manager_method:
            self.initial["method"] = address_of(self.instance)
        self.initial["kind"] = current.word
        kinds, method = self.fields.get("kind"), self.fields.get("method")
        # A method with a list is rare, so it is offered only to segments that have both.
        offered = [choice for choice in CHOICES if choice in (current, *CHOICES[:-1])]
        if isinstance(kinds, forms.ChoiceField):
            kinds.widget.offer(
                kinds.label, offered, {choice.word: _fields_of(choice) for choice in offered}
            )
            kinds.choices = kinds.widget.choices
        if isinstance(method, MethodField):
            method.offer(self.initial.get("method", ""))

    def is_valid(self) -> bool:
        """Return whether the segment may be saved; a preview never may."""
        return super().is_valid() and not self.previewing

    def clean_definition(self) -> str:
        """Return the definition; the saved one if only the ends of lines differ from that."""
        text: str = self.cleaned_data["definition"]
        saved: str = self.instance.definition
        return saved if plain_lines(saved) == text else text

    def clean(self) -> dict[str, Any] | None:
        """Empty the fields that do not belong to the chosen kind."""
        data = super().clean()
        word = self.cleaned_data.get("kind")
        choice = next((choice for choice in CHOICES if choice.word == word), None)
        if choice is not None:
            fields = _fields_of(choice)
            for name in {"definition", "method", "static_ids"} - set(fields):
                self.cleaned_data[name] = ""
        return data

    def _post_clean(self) -> None:
        # Model.clean() tries the ids together with the definition, so the instance must have them
        # before it runs. Unchanged ids are not assigned, so that nothing is saved again.
        self._change_list()
        if "method" in self.cleaned_data:
            set_method(self.instance, self.cleaned_data["method"])
        self.instance.allow_cost = self.cleaned_data.get("allow_cost", False)
        self.instance.rewrite_readers = self.cleaned_data.get("rewrite_readers", False)
        if self.previewing:
            self._preview()
        else:
            super()._post_clean()  # type: ignore[misc]

    def _change_list(self) -> None:
        data = self.cleaned_data
        word = data.get("kind", "")
        choice = next((choice for choice in CHOICES if choice.word == word), None)
        if data.get("static_ids"):
            self.instance.static_ids = data["static_ids"]
        elif choice is not None and not choice.listed and self.listed:
            self.instance.static_ids = ""

    def _preview(self) -> None:
        if self.errors:
            return
        options = self._meta
        self.instance = construct_instance(self, self.instance, options.fields, options.exclude)
        try:
            self.preview = self.instance.preview()
        except SegmentError as error:
            failure = ValidationError(str(error), code=error.field)
            failure.__cause__ = error
            self.add_error(None, ValidationError({NON_FIELD_ERRORS: [failure]}))

    def add_error(self, field: str | None, error: Any) -> None:
        """Put an error of `Segment.clean()` beside the field that its code names."""
        if field is None and isinstance(error, ValidationError) and hasattr(error, "error_dict"):
            for item in error.error_dict.pop(NON_FIELD_ERRORS, []):
                target = "method" if item.code in OF_METHOD else item.code
                known = target if target in self.fields else None
                super().add_error(known, ValidationError(self._texts(item)))
            if not error.error_dict:
                return
        super().add_error(field, error)

    def _texts(self, error: ValidationError) -> list[str]:
        """Return an error's messages and, for users who may, how to override it."""
        cause = error.__cause__
        if not isinstance(cause, SegmentError):
            return error.messages
        for kind, box, hint in OVERRIDES:
            if isinstance(cause, kind) and box in self.fields:
                self._show(box)
                cause.hint = str(hint)
        if cause.line and cause.field == "definition":
            place = {"message": cause.message, "line": cause.line, "column": cause.column}
            self.places.append(place)
        return [str(cause)]

    def _show(self, box: str) -> None:
        if box in self.fields:
            self.fields[box].widget = forms.CheckboxInput()


def _fields_of(choice: Choice) -> list[str]:
    """Return the fields of the form that belong to a kind."""
    fields = {Sql: ["definition", "allow_cost"], Manager: ["method", "allow_cost"]}
    of_list = ["list_count", "static_ids"] if choice.listed else []
    return [*fields.get(choice.kind, []), *of_list]
