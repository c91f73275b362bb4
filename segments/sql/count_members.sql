-- Runs after a refresh and for len(segment); AccessShare on the members.
SELECT count(*) FROM {view}
