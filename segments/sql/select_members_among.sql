-- Runs for has_members; AccessShare on the view and the users. Who was deleted since the refresh is out.
SELECT user_id FROM {view}
WHERE user_id = ANY(%s::{key_type}[]) AND user_id IN (SELECT {key} FROM {users})
