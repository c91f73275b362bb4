-- Part of a live view: the users that a segment lists.
SELECT u.{key}::{key_type} AS user_id
FROM {users} AS u
WHERE u.{key} IN (SELECT s.user_id FROM {static} AS s WHERE s.segment_id = {segment})
