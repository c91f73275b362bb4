-- Runs for has_members; AccessShare on the view.
SELECT members.user_id FROM {members} AS members (user_id) WHERE members.user_id = ANY(%s::{key_type}[])
