-- Runs at sync and when the schema is created; locks nothing. True or false as of the last refresh;
-- NULL where no segment of that slug has been populated. A function, since only dynamic SQL can ask
-- whether a materialized view is populated and read it in one round trip.
CREATE OR REPLACE FUNCTION {function} (slug text, id anyelement) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = '' AS $body$
DECLARE
    name text := replace(slug, '-', '_');
    answer boolean;
BEGIN
    IF EXISTS (
        SELECT FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = {schema} AND c.relname = name AND c.relkind = 'm' AND c.relispopulated
    ) THEN
        EXECUTE pg_catalog.format(
            'SELECT EXISTS (SELECT FROM %I.%I WHERE user_id = $1 AND %1$I.is_user(user_id))', {schema}, name
        )
        INTO answer USING id;
    END IF;
    RETURN answer;
END
$body$
