-- Runs when a segment is created, or has lost its index; Share lock on the members for its run.
CREATE UNIQUE INDEX ON {view} (user_id)
