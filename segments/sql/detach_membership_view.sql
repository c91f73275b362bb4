-- Runs before a migration that changes the key of the user model; AccessExclusive on the view.
CREATE OR REPLACE VIEW {view} AS
SELECT d AS user_id, NULL::bigint AS segment_id, NULL::varchar(63) AS slug, NULL::timestamptz AS entered_at
FROM {function}('membership', NULL::{key_type}) AS d
