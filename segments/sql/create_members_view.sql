-- Runs when a segment is created; locks nothing that exists. Sorted, as REFRESH CONCURRENTLY finds
-- duplicates with a merge join: on sorted rows that takes a quarter of the time.
CREATE MATERIALIZED VIEW {view} AS
SELECT user_id FROM {live} ORDER BY user_id
WITH NO DATA
