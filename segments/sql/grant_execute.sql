-- Runs at sync and when the schema is created; locks nothing. That is Postgres' own default, which hardened
-- databases change; who may call the function is told by who may use its schema.
GRANT EXECUTE ON FUNCTION {function} {arguments} TO PUBLIC
