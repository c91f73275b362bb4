-- Runs when a segment is deleted; AccessExclusive on its members. Refused while others read them.
DROP MATERIALIZED VIEW IF EXISTS {view}
