"""Keep the rows of segments and what stands in the database in step."""

from segments.sync.detach import detach as detach
from segments.sync.repair import check as check
from segments.sync.repair import sync as sync
