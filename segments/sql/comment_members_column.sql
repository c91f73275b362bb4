-- Runs when a segment is created; ShareUpdateExclusive on its members.
COMMENT ON COLUMN {column} IS {comment}
