-- Runs when a definition is priced, in a savepoint that is rolled back; locks nothing. EXPLAIN as a
-- function, for a materialized view to call: planning calls stable functions, and there they run as the
-- views' owner and in Postgres' security-restricted operation.
CREATE FUNCTION {function}() RETURNS text LANGUAGE plpgsql AS $body$
DECLARE
    plan json;
BEGIN
    EXECUTE {explain} INTO plan;
    RETURN plan;
END
$body$
