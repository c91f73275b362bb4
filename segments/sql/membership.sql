-- Membership: whether a user is in a segment, and which users are.


-- name: probe_member
-- Runs for has_member. Takes AccessShare on the view and, if the user is in it, on the table of
-- users: one probe of a unique index each. It is a bare SELECT because an EXISTS around it takes
-- longer to plan than to run. The description of its column names the view that answers.
SELECT user_id FROM {view} WHERE user_id = %s AND {is_user}(user_id)


-- name: probe_kept_member
-- Runs for has_member where the connection keeps plans. Takes the same locks as probe_member. To
-- plan the join takes longer than to call the function, and to run it takes much less.
SELECT m.user_id FROM {view} AS m JOIN {users} AS u ON u.{key} = m.user_id WHERE m.user_id = %s


-- name: probe_own_member
-- Runs for the first has_member of a segment in a process, and if another view answers than before.
-- Takes the same locks as probe_member, and AccessShare on the table of segments. Returns no row if
-- the segment has another name. Otherwise, it returns whether the user is a member, and the view of
-- that name. In a transaction with a snapshot, that may be another view than the one that answers.
SELECT
    m.user_id,
    {is_user}(m.user_id),
    (
        SELECT c.oid FROM pg_catalog.pg_class AS c
        WHERE c.relname = {name} AND c.relnamespace = to_regnamespace({schema})
    )
FROM {segment} AS s
LEFT JOIN {view} AS m ON m.user_id = %s
WHERE s.id = %s AND replace(s.slug, '-', '_') = {name}


-- name: check_segment
-- Part of queries for members: a condition that is true, or an error if the view belongs to another
-- segment by now.
{is_segment}({key}, {view}::regclass)


-- name: call_populated
-- Part of queries for users by segments: the keys of segments, given by their slugs and their keys.
{function}(%s::text[], %s::bigint[])


-- name: probe_slug
-- Runs for is_member with a slug. Takes AccessShare on the members: one probe of their unique
-- index.
SELECT {function}(%s, %s::{key_type})


-- name: call_segment_ids
-- Runs for segment_ids, and is part of the query for the segments of a user. Takes AccessShare on the
-- tables of memberships and of users. The function returns one array.
SELECT {segment_ids}(%s::{key_type})


-- name: call_segment_slugs
-- Runs for segment_slugs. Takes AccessShare on the tables of memberships, of segments and of users.
SELECT {segment_slugs}(%s::{key_type})


-- name: select_segment_ids
-- Runs for segment_ids where the connection keeps plans: what the function does, without the call.
-- Takes the same locks.
SELECT ARRAY(
    SELECT m.segment_id FROM {memberships} AS m
    WHERE m.user_id = %(key)s AND EXISTS (SELECT FROM {users} AS u WHERE u.{key} = %(key)s)
    ORDER BY m.segment_id
)


-- name: select_segment_slugs
-- Runs for segment_slugs where the connection keeps plans, likewise.
SELECT ARRAY(
    SELECT s.slug::text COLLATE "C" AS slug FROM {memberships} AS m
    JOIN {segments} AS s ON s.id = m.segment_id
    WHERE m.user_id = %(key)s AND EXISTS (SELECT FROM {users} AS u WHERE u.{key} = %(key)s)
    ORDER BY 1
)


-- name: probe_live
-- Runs for has_member_live. Takes AccessShare on the live view and on the tables that it reads.
SELECT {function}(%(slug)s, %(key)s::{key_type}, %(time_zone)s) WHERE {check}


-- name: select_live_members
-- Part of queries for the live members of a segment.
SELECT live.user_id FROM {live} AS live (user_id) WHERE {check}


-- name: call_live_members
-- Part of queries for the live members: a function that has the privileges of the views' owner,
-- and the settings of all refreshes.
{function}({slug}, {time_zone})


-- name: select_members_among
-- Runs for has_members. Takes AccessShare on the view and on the table of users. Leaves out users
-- who were deleted since the refresh. Arrays look up all keys in one scan of each index, and give
-- the driver one value to read: nine tenths of the time of a join that returns rows.
SELECT ARRAY(
    SELECT u.{key} FROM {users} AS u
    WHERE u.{key} = ANY(ARRAY(
        SELECT members.user_id FROM {members} AS members (user_id)
        WHERE {check} AND members.user_id = ANY({keys})
    ))
)


-- name: keys_asked
-- Part of select_members_among, for live members and small views. If the planner reads all members, it
-- hashes these keys.
%s::{key_type}[]


-- name: keys_looked_up
-- Part of select_members_among, for large views. The planner takes the keys for few: it probes the
-- view's index, and does not price each of them, which takes longer than to find it.
(SELECT %s::{key_type}[])::{key_type}[]


-- name: select_overlap
-- Runs for overlap. Takes AccessShare on the members of each segment and on the table of users.
-- Returns one row: how many users are in both segments of each pair. Every segment has a bit, and
-- so the segments of a user are one number.
SELECT {counts}
FROM (
{bits}
) AS u (user_id, bits)


-- name: select_bits_of_two
-- Part of select_overlap: the users in two segments. Half the time of select_bits_of_many, since it
-- groups nothing; joins of many segments would need the memory for all of them at once.
SELECT user_id, coalesce(a.bits, 0) | coalesce(b.bits, 0)
FROM ({first}) AS a (user_id, bits)
FULL JOIN ({second}) AS b (user_id, bits) USING (user_id)
WHERE user_id IN ({users})


-- name: select_bits_of_many
-- Part of select_overlap: the users in any number of segments.
SELECT m.user_id, bit_or(m.bits)
FROM (
{members}
) AS m (user_id, bits)
WHERE m.user_id IN ({users})
GROUP BY m.user_id


-- name: select_with_bit
-- Part of select_overlap: the members of a segment.
SELECT v.user_id, {bit}::bigint FROM {view} AS v WHERE {check}


-- name: count_with_bits
-- Part of select_overlap: how many users are in both of two segments.
count(*) FILTER (WHERE u.bits & {bits} = {bits})
