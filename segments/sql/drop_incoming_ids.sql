-- Runs when static ids have been saved, since the caller's transaction may save others.
DROP TABLE pg_temp.segments_incoming
