-- Runs for has_members; AccessShare on the view and the users. Who was deleted since the refresh is out.
SELECT members.user_id FROM {members} AS members (user_id)
WHERE members.user_id = ANY(%s::{key_type}[]) AND members.user_id IN (SELECT {key} FROM {users})
