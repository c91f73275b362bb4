-- Runs for segments_grants; locks nothing. The role whose rights this session has.
SELECT current_user::text
