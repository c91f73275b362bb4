-- Runs at sync, for each role that was taken out of SEGMENTS_READER_ROLES; locks nothing.
REVOKE SELECT ON ALL TABLES IN SCHEMA {schema} FROM {role}
