"""The result of one step of a sync, a detachment, an uninstallation or a removal of users."""

from dataclasses import dataclass, field

from segments.exceptions import SegmentError


@dataclass(frozen=True)
class StepResult:
    """The result of one step, for one segment or for what all segments share.

    Attributes:
        slug: The segment, or the name of an orphan; empty for what all segments share.
        what: What differs or was done, in words; empty if there was nothing to do.
        error: Why the step failed.
    """

    slug: str
    what: list[str] = field(default_factory=list)
    error: SegmentError | None = None

    def __bool__(self) -> bool:
        return bool(self.what) or self.error is not None
