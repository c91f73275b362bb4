"""The form that saves or previews a segment."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.models import construct_instance
from django.utils.translation import gettext_lazy as _

from segments.admin.editing.fields import (
    BOXES,
    HELP_OF_STATE,
    NEEDED,
    OF_KINDS,
    OF_LIST,
    ErrorPlaces,
    IntervalField,
    KindSelect,
    LinesField,
    MethodField,
    current_help,
    fields_of,
    plain_lines,
)
from segments.admin.editing.listed import (
    ListFields,
    deletion_words,
    has_list,
    is_listed,
    list_words,
)
from segments.definition.kinds import CHOICES, Choice, StaticList, choice_of
from segments.definition.methods import address_of, set_method
from segments.exceptions import SegmentError
from segments.models import Segment
from segments.validation.preview import Preview

DEFINING = ("kind", "delete_list", "definition", "allow_cost", "method")
"""The fields for users who may write definitions."""


class SegmentForm(ErrorPlaces, ListFields, forms.ModelForm):  # type: ignore[type-arg]
    """A segment, by its kind. It takes a list only until there is one, which has a page.

    Attributes:
        previewing: Whether to preview the segment instead of saving it; it is not valid then.
        may_define: Whether the definition may be changed; the list may be in any case.
        preview: The preview, if there is one and it has not failed.
        instead: What to call with the segment instead of previewing it.
        result: What that has returned, if it has not failed.
        listed: Whether the list of the saved segment has any ids.
        begins_list: Whether the segment is to have a list that nobody is on yet.
        refused: Why this could not be saved when that was tried, if it was.
    """

    text_name = "static_ids"

    previewing = False
    may_define = True
    preview: Preview | None = None
    instead: Callable[[Segment], Any] | None = None
    result: Any = None
    begins_list = False
    refused: SegmentError | None = None

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
        help_text=_("Selections of users that developers have written, as methods of managers."),
    )
    static_ids = LinesField(
        label=_("Users"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 5, "class": "vLargeTextField"}),
    )
    # The boxes are hidden until saving asks for them.
    delete_list = forms.BooleanField(required=False, widget=forms.HiddenInput)
    begin_empty = forms.BooleanField(
        label=_("Begin with nobody on the list"), required=False, widget=forms.HiddenInput
    )
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
        help_texts = HELP_OF_STATE
        widgets = {  # noqa: RUF012
            "description": forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
        }
        field_classes = {  # noqa: RUF012
            "description": LinesField,
            "refresh_every": IntervalField,
            "timeout": IntervalField,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.listed = has_list(self.instance)
        self.fields["file"].label = _("Or upload a file")
        self.fields["skip_bad"].widget = forms.HiddenInput()
        if is_listed(self.instance):
            for name in OF_LIST:
                self.fields.pop(name, None)
        if "delete_list" in self.fields:
            self.fields["delete_list"].label = deletion_words(self.instance)
        for name, text in current_help().items():
            if name in self.fields:
                self.fields[name].help_text = text
        if self.may_define:
            self._offer_kinds()
        else:
            for name in DEFINING:
                self.fields.pop(name, None)
        for box in BOXES:
            if self.data.get(self.add_prefix(box)):
                self.show(box)
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
        if isinstance(kinds, forms.ChoiceField):
            kinds.widget.offer(kinds.label, [c for c in CHOICES if c in (current, *CHOICES[:-1])])
            kinds.choices = kinds.widget.choices
        if isinstance(method, MethodField):
            method.offer(self.initial.get("method", ""))

    def is_valid(self) -> bool:
        """Return whether the segment may be saved; a preview never may."""
        return super().is_valid() and not self.previewing

    def clean_definition(self) -> str:
        """Return the definition; the saved one if only the ends of lines differ from that."""
        return self._unless_same_lines("definition")

    def clean_description(self) -> str:
        """Return the description; the saved one if only the ends of lines differ from that."""
        return self._unless_same_lines("description")

    def clean_refresh_every(self) -> timedelta | None:
        """Return the time between refreshes; refuse a new one that has always passed."""
        return self._above_zero("refresh_every")

    def clean_timeout(self) -> timedelta | None:
        """Return the time that queries may take; refuse a new one that is none."""
        return self._above_zero("timeout")

    def _unless_same_lines(self, name: str) -> str:
        text: str = self.cleaned_data[name]
        saved: str = getattr(self.instance, name)
        return saved if plain_lines(saved) == text else text

    def _above_zero(self, name: str) -> timedelta | None:
        value: timedelta | None = self.cleaned_data[name]
        if value is not None and value <= timedelta() and value != getattr(self.instance, name):
            raise ValidationError(_("Write a length of time above zero, or nothing."))
        return value

    def clean(self) -> dict[str, Any] | None:
        """Empty the fields that do not belong to the chosen kind, and demand the one that does."""
        data = super().clean()
        word = self.cleaned_data.get("kind")
        self.choice = next((choice for choice in CHOICES if choice.word == word), None)
        if self.choice is not None:
            self._follow(self.choice)
        self.read_list()
        self._demand_list()
        return data

    def _follow(self, choice: Choice) -> None:
        if not choice.listed and self.gives_list():
            text = _("This kind has no list, and you have given one. Choose a kind with a list.")
            self.add_error("kind", text)
        for name in OF_KINDS - set(fields_of(choice)):
            self.cleaned_data[name] = ""
            self.errors.pop(name, None)
        needed, words = NEEDED.get(choice.kind, ("", ""))
        if needed in self.cleaned_data and not self.cleaned_data[needed]:
            self.add_error(needed, words)
        if self.listed and not choice.listed:
            self._ask_to_delete_list()

    def _demand_list(self) -> None:
        """Begin a list without anybody only if that is asked for; a page loses its file."""
        choice, data = self.choice, self.cleaned_data
        # People without that choice can add only lists.
        listed = choice.listed if choice else not (self.may_define or self.instance.pk)
        self.begins_list = listed and "static_ids" in self.fields and self.unread is None
        if self.begins_list and not self.errors.keys() & {*OF_LIST} and not data["begin_empty"]:
            self.show("begin_empty")
            text = _(
                "Paste users, or choose a file, again if you have chosen one: browsers do not "
                "keep it. Or tick “%s”."
            )
            self.add_error("static_ids", text % self.fields["begin_empty"].label)

    def _ask_to_delete_list(self) -> None:
        self.show("delete_list")
        # It is counted even if nothing is wrong, since the log says later what was deleted.
        words = {"users": list_words(self.instance), "box": deletion_words(self.instance)}
        if not self.previewing and not self.cleaned_data.get("delete_list"):
            text = _("It has a list of %(users)s. Keep a kind with a list, or tick “%(box)s”.")
            self.add_error("kind", text % words)

    def _post_clean(self) -> None:
        if self.refused is not None:  # It is valid, so nothing is evaluated again.
            self._add(self.refused)
            return
        # Model.clean() refuses a segment without a definition, so the instance must have its list
        # before it runs.
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
        choice = self.choice
        begins = self.begins_list and (choice is None or choice.kind is StaticList)
        ends = self.listed and choice is not None and not choice.listed
        if self.unread or begins or ends:
            self.instance.unsaved_static_ids = self.unread or ""

    def _preview(self) -> None:
        if self.errors:
            return
        options = self._meta
        self.instance = construct_instance(self, self.instance, options.fields, options.exclude)
        try:
            self.result = self.instead(self.instance) if self.instead else None
            self.preview = None if self.instead else self.instance.preview()
        except SegmentError as error:
            self._add(error)

    def _add(self, error: SegmentError) -> None:
        self.add_segment_error(self.in_words(error))
