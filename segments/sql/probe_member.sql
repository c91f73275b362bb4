-- Runs for has_member; AccessShare on the view, one probe of its unique index. A bare SELECT, since
-- an EXISTS around it takes longer to plan than to run.
SELECT 1 FROM {view} WHERE user_id = %s{and_exists}
