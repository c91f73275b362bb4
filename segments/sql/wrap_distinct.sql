-- Part of a live view: the ids that a definition names, all of them known to be those of users.
SELECT DISTINCT definition.{column}::{key_type} AS user_id
FROM (
{definition}
) AS definition
WHERE definition.{column} IS NOT NULL
