-- Runs for has_members; AccessShare on the view.
SELECT user_id FROM {view} WHERE user_id = ANY(%s::{key_type}[])
