-- Runs when static ids are saved; AccessShare on the users. The lines that name no user, and how
-- many there are in all.
SELECT i.line, i.user_id, count(*) OVER () AS total
FROM pg_temp.segments_incoming AS i
WHERE NOT EXISTS (SELECT FROM {users} AS u WHERE u.{key} = i.user_id)
ORDER BY i.line
LIMIT %(limit)s
