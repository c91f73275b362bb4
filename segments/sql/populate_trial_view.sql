-- Runs when a definition is validated or planned, in a transaction that is rolled back; evaluates it once, as
-- the views' owner and in Postgres' security-restricted operation, like a refresh.
REFRESH MATERIALIZED VIEW {view}
