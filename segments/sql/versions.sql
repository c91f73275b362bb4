-- Versions: what lists of ids have gained and lost, and what a change of a segment has resulted in.


-- name: kept_changes
-- Part of the statements that change a list: the ids that it gains and loses, for the version before
-- the change. None is written if there is no such version, or if the list was empty.
kept AS (
    INSERT INTO {change} (version_id, user_id, added)
    SELECT %(version)s::bigint, moved.user_id, moved.added
    FROM (
        SELECT user_id, true AS added FROM inserted
        UNION ALL
        SELECT user_id, false FROM deleted
    ) AS moved
    WHERE %(version)s::bigint IS NOT NULL
)


-- name: complete_version
-- Runs at the end of a refresh, in its transaction. Takes a row lock on the last version of the
-- segment, if that is not complete yet.
UPDATE {version}
SET members_after = %(members_count)s, entered = %(added)s, "left" = %(removed)s
WHERE members_after IS NULL
    AND id = (SELECT id FROM {version} WHERE segment_id = %(segment)s ORDER BY id DESC LIMIT 1)
