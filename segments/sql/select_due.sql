-- Runs for refresh_segments --due and --watch; AccessShare on the segments. When each is due, if ever.
SELECT s.id, {due} AS due
FROM {segment} AS s
WHERE s.id = ANY(%(segments)s)
ORDER BY due
