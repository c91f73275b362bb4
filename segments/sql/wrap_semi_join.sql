-- Part of a live view: the users that a definition names, whatever it names besides. The qualifier
-- is vital: without it, a definition that has no such column would name every user.
SELECT u.{key}::{key_type} AS user_id
FROM {users} AS u
WHERE u.{key} IN (SELECT definition.{column} FROM (
{definition}
) AS definition)
