-- name: probe_member
-- Runs for has_member; AccessShare on the view and, where the user is in it, on the users: one probe of a unique
-- index each. A bare SELECT, since an EXISTS around it takes longer to plan than to run.
SELECT 1 FROM {view} WHERE user_id = %s AND {is_user}(user_id)


-- name: probe_slug
-- Runs for is_member with a slug; AccessShare on the members, one probe of their unique index.
SELECT {function}(%s, %s::{key_type})


-- name: probe_live
-- Runs for has_member_live; AccessShare on the live view and on the tables that it reads.
SELECT {function}(%(slug)s, %(key)s::{key_type})


-- name: select_live_members
-- Part of queries for those who are in a segment now.
SELECT live.user_id FROM {live} AS live (user_id)


-- name: call_live_members
-- Part of queries for the live members, where another role owns the views: a function that has its rights.
{function}({slug})


-- name: select_members_among
-- Runs for has_members; AccessShare on the view and the users. Who was deleted since the refresh is out.
SELECT members.user_id FROM {members} AS members (user_id)
WHERE members.user_id = ANY(%(keys)s::{key_type}[]) AND members.user_id IN (SELECT {key} FROM {users})
