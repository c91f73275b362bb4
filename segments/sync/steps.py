"""What one step of a sync, a detachment, a removal or a deletion did."""

from dataclasses import dataclass, field

from segments.exceptions import SegmentError


@dataclass(frozen=True)
class StepResult:
    """The result of one step, which concerns one segment or what all of them share.

    Attributes:
        slug: The segment; the name of a view that no segment has; empty for what is shared.
        what: What differs or was done, in words; empty if there was nothing to do.
        error: Why it is not known, or could not be done.
    """

    slug: str
    what: list[str] = field(default_factory=list)
    error: SegmentError | None = None

    def __bool__(self) -> bool:
        return bool(self.what) or self.error is not None
