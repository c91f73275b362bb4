-- Runs when a live view was replaced or renamed; ShareUpdateExclusive on it.
COMMENT ON VIEW {view} IS {comment}
