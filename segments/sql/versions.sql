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


-- name: select_ids_of_version
-- Part of insert_incoming_ids: the ids that were in the list of a segment. The first change of a user
-- since then tells whether the user was in it. Users without one are in it as they are now, or as
-- when the list was empty: then there is no segment to look for. It is a FULL JOIN for the same
-- reason as joined_list.
SELECT coalesce(c.user_id, s.user_id)
FROM (
    SELECT DISTINCT ON (user_id) user_id, added FROM {change}
    WHERE version_id = ANY({versions}::bigint[])
    ORDER BY user_id, version_id
) AS c
FULL JOIN (SELECT user_id FROM {static} WHERE segment_id = {segment}::bigint) AS s
    ON s.user_id = c.user_id
WHERE c.added IS NOT TRUE


-- name: complete_version
-- Runs at the end of a refresh, in its transaction. Takes a row lock on the last version of the
-- segment, if that is not complete yet.
UPDATE {version}
SET members_after = %(members_count)s, entered = %(added)s, "left" = %(removed)s
WHERE members_after IS NULL
    AND id = (SELECT id FROM {version} WHERE segment_id = %(segment)s ORDER BY id DESC LIMIT 1)
