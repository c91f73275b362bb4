-- Part of queries for those who are in a segment now.
SELECT live.user_id FROM {live} AS live (user_id)
