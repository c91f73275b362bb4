-- Part of probe_member.sql for a bare key, whose user may have been deleted since the refresh; AccessShare on
-- the users. By value, as Citus cannot join the view with distributed users; a join would cost the same.
 AND (SELECT true FROM {users} WHERE {key} = %s)
