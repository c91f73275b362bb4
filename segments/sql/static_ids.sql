-- Static ids: load a list of ids, check it, and store it.


-- name: create_incoming_ids
-- Runs when static ids are checked or saved. Needs TEMP on the database. Locks nothing.
CREATE TEMPORARY TABLE segments_incoming (line bigint, user_id {key_type}) ON COMMIT DROP


-- name: copy_incoming_ids
-- Runs when static ids are checked or saved. Streams the ids, so Python never holds them all.
COPY pg_temp.segments_incoming (line, user_id) FROM STDIN


-- name: select_unknown_ids
-- Runs when static ids are checked or saved. Takes AccessShare on the table of users. Returns the
-- first lines that name no user, and how many there are in all.
SELECT i.line, i.user_id, count(*) OVER () AS total
FROM pg_temp.segments_incoming AS i
WHERE NOT EXISTS (SELECT FROM {users} AS u WHERE u.{key} = i.user_id)
ORDER BY i.line
LIMIT %(limit)s


-- name: delete_static_ids
-- Runs when static ids are saved. Takes row locks on the ids that are no longer listed.
DELETE FROM {static} AS s
WHERE s.segment_id = %(segment)s
    AND NOT EXISTS (SELECT FROM pg_temp.segments_incoming AS i WHERE i.user_id = s.user_id)


-- name: insert_static_ids
-- Runs when static ids are saved. Takes row locks on the ids that are newly listed.
INSERT INTO {static} (segment_id, user_id)
SELECT DISTINCT %(segment)s, i.user_id FROM pg_temp.segments_incoming AS i
ON CONFLICT DO NOTHING


-- name: drop_incoming_ids
-- Runs when static ids have been checked or saved, since the caller's transaction may go on to
-- save others.
DROP TABLE pg_temp.segments_incoming
