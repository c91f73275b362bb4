-- Part of what asks which segments are due. When its interval has passed since the last attempt, or a
-- part of it between nine and ten tenths that is a segment's own, so that many with one interval do not
-- start together. After a failure the interval, doubled with each further one, up to a day. At once
-- when there was no attempt, or the definition has changed since. Never without an interval. One that leads
-- out of the calendar would be an error for all segments, and so counts as a century.
CASE WHEN coalesce(s.refresh_every, {every}) IS NOT NULL THEN coalesce(
    s.attempted_at + CASE
        WHEN s.failures = 0
            THEN least(greatest(coalesce(s.refresh_every, {every}), interval '0'), interval '36500 days')
        ELSE least(
            least(greatest(coalesce(s.refresh_every, {every}), interval '0'), interval '1 day')
                * power(2, least(s.failures - 1, 16)),
            interval '1 day'
        )
    END * (1 - (pg_catalog.hashint8(s.id) & 1023) / 10240.0),
    s.updated_at
) END
