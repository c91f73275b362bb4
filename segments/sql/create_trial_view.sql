-- Runs when a definition is validated, in a transaction that is rolled back; evaluates it once, as
-- the views' owner and in Postgres' security-restricted operation, like a refresh.
CREATE MATERIALIZED VIEW {view} AS
{definition}
