-- Runs when static ids are saved; row locks on those that are no longer listed.
DELETE FROM {static} AS s
WHERE s.segment_id = %(segment)s
    AND NOT EXISTS (SELECT FROM pg_temp.segments_incoming AS i WHERE i.user_id = s.user_id)
