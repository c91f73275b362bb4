-- Changes: who entered and who left, for those who follow them.


-- name: try_lock_consumer
-- Runs when a consumer begins to read. Takes an advisory lock of the consumer until the end of the
-- transaction, unless another session holds it; never waits. It needs no row, and ends with the
-- session, also behind a pool that gives each transaction another one.
SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended(%(key)s, 0))


-- name: find_first_change
-- Runs when changes since a moment, or after a refresh, are asked for. Takes no lock.
--
-- The changes of a segment are written in the order of their ids under its lock, by one clock and
-- with rising keys of refreshes. So this halves the ids that there are: some forty look-ups, however
-- many changes there are, in place of an index of times that each refresh would have to write to.
-- Rows are compared as a whole so that each look-up takes the index of segments and ids, whatever
-- the statistics say about a segment.
--
-- The result is 0, or right above the id of a change of the segment from before. So it stays right
-- for refreshes that commit later, whose ids may be below those of other segments.
WITH RECURSIVE search AS (
    SELECT 0::bigint AS low, max(c.id) + 1 AS high FROM {change} AS c
    UNION ALL
    SELECT
        CASE WHEN probe.earlier THEN probe.id + 1 ELSE search.low END,
        CASE WHEN probe.earlier THEN search.high ELSE (search.low + search.high) / 2 END
    FROM search
    LEFT JOIN LATERAL (
        SELECT
            c.id,
            coalesce(c.at < %(moment)s::timestamptz, c.refresh_id <= %(refresh)s::bigint) AS earlier
        FROM {change} AS c
        WHERE (c.segment_id, c.id) >= (%(segment)s::bigint, (search.low + search.high) / 2)
            AND (c.segment_id, c.id) < (%(segment)s::bigint, search.high)
        ORDER BY c.segment_id, c.id
        LIMIT 1
    ) AS probe ON true
    WHERE search.low < search.high
)
SELECT low FROM search WHERE low >= high
