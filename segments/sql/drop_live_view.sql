-- Runs when a segment is deleted; AccessExclusive on the live view. Refused while others read it.
DROP VIEW IF EXISTS {view}
