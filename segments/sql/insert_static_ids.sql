-- Runs when static ids are saved; row locks on those that are newly listed.
INSERT INTO {static} (segment_id, user_id)
SELECT DISTINCT %(segment)s, i.user_id FROM pg_temp.segments_incoming AS i
ON CONFLICT DO NOTHING
