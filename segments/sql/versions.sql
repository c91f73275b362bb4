-- Versions: what lists of ids have gained and lost, and what a change of a segment has resulted in.


-- name: insert_list_changes
-- Runs right before static ids are replaced, if a version is kept. Locks nothing but the new rows.
-- Returns how many ids are added and removed.
WITH change AS (
    INSERT INTO {change} (version_id, user_id, added)
    SELECT %(version)s, s.user_id, false FROM {static} AS s
    WHERE s.segment_id = %(segment)s
        AND NOT EXISTS (SELECT FROM pg_temp.segments_incoming AS i WHERE i.user_id = s.user_id)
    UNION ALL
    SELECT DISTINCT %(version)s, i.user_id, true FROM pg_temp.segments_incoming AS i
    WHERE NOT EXISTS (
        SELECT FROM {static} AS s WHERE s.segment_id = %(segment)s AND s.user_id = i.user_id
    )
    RETURNING added
)
SELECT count(*) FILTER (WHERE added) AS added, count(*) FILTER (WHERE NOT added) AS removed
FROM change


-- name: complete_version
-- Runs at the end of a refresh, in its transaction. Takes a row lock on the last version of the
-- segment, if that is not complete yet.
UPDATE {version}
SET members_after = %(members_count)s, entered = %(added)s, "left" = %(removed)s
WHERE members_after IS NULL
    AND id = (SELECT id FROM {version} WHERE segment_id = %(segment)s ORDER BY id DESC LIMIT 1)
