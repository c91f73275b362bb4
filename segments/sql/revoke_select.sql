-- Runs at sync, for each role that was taken out of SEGMENTS_READER_ROLES; locks nothing.
REVOKE SELECT ON {view} FROM {role}
