-- Runs at sync, for each role that was taken out of SEGMENTS_READER_ROLES; locks nothing.
REVOKE USAGE ON SCHEMA {schema} FROM {role}
