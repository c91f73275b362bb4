-- Runs at sync and when the schema is created; locks nothing. Whether there is a user of this key. A function,
-- of which each session keeps the plan: to plan a sub-select in its place takes longer than all of a check. With
-- the rights of the owner, as who may read members need not be one who may read users. All in it is named in
-- full instead of by a search_path of its own, which would cost as much as the probe. It has one only where
-- the table runs functions of the project, which would do what a caller has put in the way of their names.
CREATE OR REPLACE FUNCTION {function} (id {key_type}) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER {path} AS $body$
BEGIN
    PERFORM FROM {users} AS u WHERE u.{key} OPERATOR(pg_catalog.=) $1;
    RETURN FOUND;
END
$body$
