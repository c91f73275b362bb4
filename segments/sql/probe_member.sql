-- Runs for has_member; AccessShare on the view, one probe of its unique index.
SELECT EXISTS (SELECT FROM {view} WHERE user_id = %s)
