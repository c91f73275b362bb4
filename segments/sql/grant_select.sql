-- Runs at sync and creation, for each role in SEGMENTS_READER_ROLES; locks nothing.
GRANT SELECT ON {view} TO {role}
