-- Runs when a schema has been created; locks the schema against being dropped.
COMMENT ON SCHEMA {schema} IS {comment}
