"""Make the views in the database match the rows of segments."""

from segments.sync.detach import detach as detach
from segments.sync.repair import check as check
from segments.sync.repair import sync as sync
