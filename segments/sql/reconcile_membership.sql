-- Runs in the transaction of a refresh, after it; row locks on what changes alone. Both sides come
-- sorted out of an index, so this is one merge join, whatever the size of the whole table is. Who
-- was deleted since the refresh has looked at the users has no membership any more, and gets none. Who
-- has left is found by index and deleted by place, whatever the planner knows of a new segment.
WITH change AS MATERIALIZED (
    SELECT v.user_id AS entered, m.user_id AS gone
    FROM {view} AS v
    FULL JOIN (SELECT user_id FROM {membership} WHERE segment_id = %(segment)s) AS m
        ON m.user_id = v.user_id
    WHERE v.user_id IS NULL OR m.user_id IS NULL
),
deleted AS (
    DELETE FROM {membership}
    WHERE ctid = ANY (ARRAY(
        SELECT m.ctid
        FROM change
        CROSS JOIN LATERAL (
            SELECT ctid FROM {membership} WHERE segment_id = %(segment)s AND user_id = change.gone OFFSET 0
        ) AS m
    ))
    RETURNING 1
),
inserted AS (
    INSERT INTO {membership} (user_id, segment_id, entered_at)
    SELECT entered, %(segment)s, pg_catalog.now() FROM change
    WHERE entered IN (SELECT {key} FROM {users})
    RETURNING 1
)
SELECT (SELECT count(*) FROM inserted) AS entered, (SELECT count(*) FROM deleted) AS gone
