-- Lists: load the users of a segment's list, change the list, and export members.


-- name: create_listed
-- Runs when a list is loaded. Needs TEMP on the database. Locks nothing.
CREATE TEMPORARY TABLE segments_listed (line bigint, value {type}) ON COMMIT DROP


-- name: copy_listed
-- Runs when a list is loaded. Streams the entries, so Python never holds them all.
COPY pg_temp.segments_listed (line, value) FROM STDIN


-- name: insert_listed
-- Runs when a list is loaded from a queryset. Takes AccessShare on what the queryset reads. No id
-- passes through Python.
INSERT INTO pg_temp.segments_listed (line, value)
SELECT row_number() OVER () AS line, entry.value FROM ({query}) AS entry (value)


-- name: count_listed
-- Runs when a list was loaded from a queryset. Locks nothing else.
SELECT count(*) FROM pg_temp.segments_listed


-- name: select_unknown_listed
-- Runs when entries of a list name no user. Takes AccessShare on the table of users. Returns the
-- first of them, and how many there are in all.
SELECT l.line, l.value::text, count(*) OVER () AS total
FROM pg_temp.segments_listed AS l
WHERE NOT EXISTS (SELECT FROM ({users}) AS u (user_id, value) WHERE u.value = l.value)
ORDER BY l.line
LIMIT %(limit)s


-- name: select_similar_users
-- Runs when entries of a list name no user. Reads the table of users. Returns the values that differ
-- from such entries only in upper and lower case.
SELECT lower(u.value::text), min(u.value::text)
FROM ({users}) AS u (user_id, value)
WHERE lower(u.value::text) = ANY (%(values)s)
GROUP BY 1


-- name: matched_users
-- Part of the statements that change a list: the users that its entries name, and whether the list
-- may be changed. It may not be if an entry names no user, unless such entries are skipped. In the
-- order of users, what follows merges and sorts nothing: half the time for a long list.
matched AS MATERIALIZED (
    SELECT u.user_id, count(*) AS lines
    FROM pg_temp.segments_listed AS l
    JOIN ({users}) AS u (user_id, value) ON u.value = l.value
    GROUP BY u.user_id
    ORDER BY u.user_id
),
verdict AS MATERIALIZED (
    SELECT
        count(*) AS users,
        coalesce(sum(lines), 0)::bigint AS lines,
        %(skip_bad)s OR coalesce(sum(lines), 0) = %(valid)s AS good
    FROM matched
)


-- name: joined_list
-- Part of the statements that change a list: the users that are asked for, beside those of the list.
-- Statistics know nothing of a list that was loaded a moment ago, or tell of one that was deleted.
-- So this is a FULL JOIN, as in reconcile_membership: a merge or a hash join, never a nested loop
-- that compares each user with each. The WHERE after it must not say IS NOT NULL of a side: the
-- planner would take another join then.
FULL JOIN (
    SELECT user_id, ctid AS place FROM {static} WHERE segment_id = %(segment)s
) AS s ON s.user_id = l.user_id


-- name: deleted_users
-- Part of the statements that remove from a list: deletes rows at the places (ctid) where the join
-- has seen them; see reconcile_membership.
deleted AS (
    DELETE FROM {static}
    WHERE ctid = ANY (ARRAY(SELECT place FROM compared WHERE place IS NOT NULL))
    RETURNING user_id
)


-- name: inserted_users
-- Part of the statements that add to a list. Nobody else inserts such a row meanwhile: the caller
-- holds the segment's lock. The order fills the indexes from one end to the other.
inserted AS (
    INSERT INTO {static} (segment_id, user_id)
    SELECT %(segment)s, listed FROM compared WHERE place IS NULL ORDER BY listed
    RETURNING user_id
)


-- name: add_listed
-- Runs when users are added to a list. Takes AccessShare on the table of users, and row locks on
-- the users that are newly listed. Returns the known users, their lines, and the users added and
-- removed.
WITH
-- part: matched_users
,
compared AS MATERIALIZED (
    SELECT l.user_id AS listed, s.place
    FROM matched AS l
    -- part: joined_list
    WHERE (SELECT good FROM verdict) AND s.place IS NULL
),
deleted AS (SELECT listed AS user_id FROM compared LIMIT 0),
-- part: inserted_users
,
-- part: kept_changes
-- part: selected_counts


-- name: replace_listed
-- Runs when a list is replaced. Locks and returns the same as add_listed, and takes row locks on
-- the users that are no longer listed.
WITH
-- part: matched_users
,
compared AS MATERIALIZED (
    SELECT l.user_id AS listed, s.place
    FROM matched AS l
    -- part: joined_list
    WHERE (SELECT good FROM verdict) AND (l.user_id IS NULL OR s.place IS NULL)
),
-- part: deleted_users
,
-- part: inserted_users
,
-- part: kept_changes
-- part: selected_counts


-- name: remove_listed
-- Runs when users are removed from a list. Takes AccessShare on the table of users, and row locks
-- on the users that are no longer listed. Returns the same as add_listed.
WITH
-- part: matched_users
,
compared AS MATERIALIZED (
    SELECT l.user_id AS listed, s.place
    FROM matched AS l
    -- part: joined_list
    WHERE (SELECT good FROM verdict) AND (l.user_id IS NULL) = (s.place IS NULL)
),
-- part: deleted_users
,
inserted AS (SELECT listed AS user_id FROM compared LIMIT 0),
-- part: kept_changes
-- part: selected_counts


-- name: selected_counts
-- Part of the statements that change a list: what they return.
SELECT
    users, lines,
    (SELECT count(*) FROM inserted) AS added, (SELECT count(*) FROM deleted) AS removed
FROM verdict


-- name: count_listed_members
-- Runs after users were removed from the list of a segment that has a definition as well. Takes
-- AccessShare on its members and on the table of users. Returns how many of them are still members.
SELECT count(*)
FROM {view} AS v
WHERE v.user_id IN (
    SELECT u.user_id
    FROM pg_temp.segments_listed AS l
    JOIN ({users}) AS u (user_id, value) ON u.value = l.value
)


-- name: drop_listed
-- Runs when a list was loaded, since the caller's transaction may go on to load others.
DROP TABLE pg_temp.segments_listed


-- name: export_members
-- Runs when members are exported. Takes AccessShare on the segment's members and on the table of
-- users. Postgres streams the rows, and nobody holds them all.
COPY ({query}) TO STDOUT WITH (FORMAT csv, HEADER false)
