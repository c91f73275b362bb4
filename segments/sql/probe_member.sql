-- Runs for has_member; AccessShare on the view and, where the user is in it, on the users: one probe of a unique
-- index each. A bare SELECT, since an EXISTS around it takes longer to plan than to run.
SELECT 1 FROM {view} WHERE user_id = %s AND {is_user}(user_id)
