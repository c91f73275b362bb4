-- Runs when the first segment is created or synced; needs CREATE on the database; locks nothing.
CREATE SCHEMA {schema}
