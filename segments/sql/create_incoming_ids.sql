-- Runs when static ids are saved; needs TEMP on the database; locks nothing.
CREATE TEMPORARY TABLE segments_incoming (line bigint, user_id {key_type}) ON COMMIT DROP
