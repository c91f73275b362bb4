-- Runs when a segment is created, and at sync; ShareUpdateExclusive on the view.
COMMENT ON COLUMN {column} IS {comment}
