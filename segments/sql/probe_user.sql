-- Part of probe_member.sql for a bare key, whose user may have been deleted since the refresh; AccessShare on
-- the users. By value: a join takes longer to plan, and Citus cannot join the view with distributed users.
 AND (SELECT true FROM {users} WHERE {key} = %s)
