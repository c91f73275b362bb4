"""The form that saves or previews a segment."""

from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.forms.models import construct_instance
from django.utils.translation import gettext_lazy as _

from segments.definition.kinds import DEFINING_FIELDS
from segments.exceptions import SegmentCostError, SegmentError
from segments.models import Segment
from segments.validation.preview import Preview


class LinesField(forms.CharField):
    """Lines of text. Browsers add carriage returns, which must not count as a change."""

    def to_python(self, value: Any) -> str:
        """Return the text without carriage returns, and without space at its end."""
        return (super().to_python(value) or "").replace("\r\n", "\n").rstrip()


class SegmentForm(forms.ModelForm):  # type: ignore[type-arg]
    """A segment, with one static id a line.

    Attributes:
        previewing: Whether to preview the segment instead of saving it; it is not valid then.
        may_define: Whether the definition may be changed; static ids may be in any case.
        preview: The preview, if there is one and it has not failed.
    """

    previewing = False
    may_define = True
    preview: Preview | None = None

    static_ids = LinesField(
        label=_("Static ids"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 6, "class": "vLargeTextField"}),
        help_text=_("One user id a line. These users are always in the segment."),
    )
    # Hidden until the cost limit refuses a definition.
    allow_cost = forms.BooleanField(
        label=_("Save it although it is expensive"), required=False, widget=forms.HiddenInput
    )

    class Meta:
        model = Segment
        fields = (
            "name",
            "slug",
            "description",
            "definition",
            "model",
            "manager_name",
            "manager_method",
            "priority",
            "refresh_every",
            "timeout",
            "max_loss",
            "is_active",
        )
        widgets = {  # noqa: RUF012
            "definition": forms.Textarea(
                attrs={"rows": 10, "class": "vLargeTextField segments-sql"}
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["static_ids"] = self.instance.static_ids
        if not self.may_define:
            for name in (*DEFINING_FIELDS, "allow_cost"):
                self.fields.pop(name, None)
        elif self.data.get(self.add_prefix("allow_cost")):
            self._show_allow_cost()
        if self.previewing:
            for field in self.fields.values():
                field.required = False

    def is_valid(self) -> bool:
        """Return whether the segment may be saved; a preview never may."""
        return super().is_valid() and not self.previewing

    def _post_clean(self) -> None:
        # Model.clean() tries the ids together with the definition, so the instance must have them
        # before it runs. Unchanged ids are not assigned, so that nothing is saved again.
        if "static_ids" in self.changed_data:
            self.instance.static_ids = self.cleaned_data.get("static_ids", "")
        self.instance.allow_cost = self.cleaned_data.get("allow_cost", False)
        if self.previewing:
            self._preview()
        else:
            super()._post_clean()  # type: ignore[misc]

    def _preview(self) -> None:
        if self.errors:
            return
        options = self._meta
        self.instance = construct_instance(self, self.instance, options.fields, options.exclude)
        try:
            self.preview = self.instance.preview()
        except SegmentError as error:
            field = error.field if error.field in self.fields else None
            self.add_error(field, ValidationError(str(error)))

    def add_error(self, field: str | None, error: Any) -> None:
        """Put an error of `Segment.clean()` beside the field that its code names."""
        if field is None and isinstance(error, ValidationError) and hasattr(error, "error_dict"):
            for item in error.error_dict.pop(NON_FIELD_ERRORS, []):
                target = item.code if item.code in self.fields else None
                super().add_error(target, ValidationError(self._texts(item)))
            if not error.error_dict:
                return
        super().add_error(field, error)

    def _texts(self, error: ValidationError) -> list[str]:
        """Return an error's messages and, for users who may, how to override the cost limit."""
        cause = error.__cause__
        if not isinstance(cause, SegmentCostError) or "allow_cost" not in self.fields:
            return error.messages
        self._show_allow_cost()
        cause.hint = str(_("Make it cheaper (is an index missing?), or tick the box below."))
        return [str(cause)]

    def _show_allow_cost(self) -> None:
        self.fields["allow_cost"].widget = forms.CheckboxInput()
