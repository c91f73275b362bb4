-- Runs when a definition is validated or planned, in a transaction that is rolled back; evaluates nothing yet.
CREATE MATERIALIZED VIEW {view} AS
{definition}
WITH NO DATA
