-- Membership: whether a user is in a segment, and which users are.


-- name: probe_member
-- Runs for has_member. Takes AccessShare on the view and, if the user is in it, on the table of
-- users: one probe of a unique index each. It is a bare SELECT because an EXISTS around it takes
-- longer to plan than to run.
SELECT 1 FROM {view} WHERE user_id = %s AND {is_user}(user_id)


-- name: probe_slug
-- Runs for is_member with a slug. Takes AccessShare on the members: one probe of their unique
-- index.
SELECT {function}(%s, %s::{key_type})


-- name: probe_live
-- Runs for has_member_live. Takes AccessShare on the live view and on the tables that it reads.
SELECT {function}(%(slug)s, %(key)s::{key_type}, %(time_zone)s)


-- name: select_live_members
-- Part of queries for the live members of a segment.
SELECT live.user_id FROM {live} AS live (user_id)


-- name: call_live_members
-- Part of queries for the live members: a function that has the privileges of the views' owner,
-- and the settings of all refreshes.
{function}({slug}, {time_zone})


-- name: select_members_among
-- Runs for has_members. Takes AccessShare on the view and on the table of users. Leaves out users
-- who were deleted since the refresh.
SELECT members.user_id FROM {members} AS members (user_id)
WHERE members.user_id = ANY(%(keys)s::{key_type}[]) AND members.user_id IN (SELECT {key} FROM {users})
