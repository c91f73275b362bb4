-- Runs after a refresh; AccessShare on the members.
SELECT count(*) FROM {view}
