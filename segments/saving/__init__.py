"""Keep the views of segments in step with their rows."""

from segments.saving.follow import deleted as deleted
from segments.saving.follow import rename as rename
from segments.saving.follow import saved as saved
from segments.saving.lists import listed as listed
from segments.saving.versions import acting as acting
