-- Runs at sync and when the schema is created; locks nothing. Whether a user is in a segment now: the
-- definition is evaluated with the rights of the views' owner, which it cannot give up in here; the
-- settings that it changes are undone with the block. Of one type, since the cast of another, which may be
-- the caller's own, would have those rights as well.
CREATE OR REPLACE FUNCTION {function} (slug text, id {key_type}) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $body$
DECLARE
    answer boolean;
BEGIN
    EXECUTE pg_catalog.format('SELECT EXISTS (SELECT FROM %I.%I WHERE user_id = $1)', {schema}, replace(slug, '-', '_'))
    INTO answer USING id;
    RAISE SQLSTATE 'SG000';
EXCEPTION WHEN SQLSTATE 'SG000' THEN
    RETURN answer;
END
$body$
