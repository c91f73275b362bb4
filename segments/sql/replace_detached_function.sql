-- Runs at sync and when the schema is created; locks nothing. What a live view reads while it is
-- detached: a volatile function, since the planner answers for others without calling them. EXECUTE
-- stays with PUBLIC, so that whoever reads the view gets the message.
CREATE OR REPLACE FUNCTION {function} (slug text, key anyelement) RETURNS SETOF anyelement
LANGUAGE plpgsql VOLATILE SET search_path = '' AS $body$
BEGIN
    RAISE EXCEPTION 'segment "%" is detached from its tables', slug
    USING ERRCODE = 'object_not_in_prerequisite_state',
        HINT = 'A schema change is under way or was cut short. Members and checks of the last refresh go on. '
            'When the change is over, this attaches it: manage.py sync_segments';
END
$body$
