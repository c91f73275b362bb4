-- Runs at sync and when the schema is created; locks nothing. Who is in a segment now, as
-- replace_is_live_member_function.sql.
CREATE OR REPLACE FUNCTION {function} (slug text) RETURNS SETOF {key_type}
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $body$
BEGIN
    RETURN QUERY EXECUTE pg_catalog.format('SELECT user_id FROM %I.%I', {schema}, replace(slug, '-', '_'));
    RAISE SQLSTATE 'SG000';
EXCEPTION WHEN SQLSTATE 'SG000' THEN
    RETURN;
END
$body$
