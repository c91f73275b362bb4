-- Runs when the key of the user model has another type, since that of a view's column cannot change;
-- AccessExclusive on the view. Refused while others read it.
DROP VIEW IF EXISTS {view}
