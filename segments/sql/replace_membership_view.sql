-- Runs at sync and when the schema is created; AccessExclusive on the view for an instant.
-- Columns may only ever be appended.
CREATE OR REPLACE VIEW {view} AS
SELECT m.user_id::{key_type} AS user_id, m.segment_id, s.slug, m.entered_at
FROM {membership} AS m
JOIN {segment} AS s ON s.id = m.segment_id
