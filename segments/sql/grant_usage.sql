-- Runs at sync and creation, for each role in SEGMENTS_READER_ROLES; locks nothing.
GRANT USAGE ON SCHEMA {schema} TO {role}
