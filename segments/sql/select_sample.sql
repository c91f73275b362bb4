-- Runs for a preview; AccessShare on the view that it has made.
SELECT user_id FROM {view} ORDER BY user_id LIMIT %(limit)s
