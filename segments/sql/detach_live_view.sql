-- Runs before migrations and for detach_segments; AccessExclusive on the live view: waits for its
-- readers and for a running refresh. Frees the tables of its definition for any change.
CREATE OR REPLACE VIEW {view} AS
SELECT d AS user_id FROM {function}({slug}, NULL::{key_type}) AS d
