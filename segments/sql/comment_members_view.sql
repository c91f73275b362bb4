-- Runs when a segment is created, renamed or described anew; ShareUpdateExclusive on its members.
COMMENT ON MATERIALIZED VIEW {view} IS {comment}
