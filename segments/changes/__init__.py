"""Who entered and who left: the feed of a segment's changes, and the consumers that follow it."""
