-- Runs for drop_segments; AccessExclusive on the schema. Refused while anything is in it.
DROP SCHEMA IF EXISTS {schema}
