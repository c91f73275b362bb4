-- Runs before a refresh; locks nothing. Until when nothing was written that a segment reads, if known.
SELECT {unchanged_until}(
    %(live)s::regclass, %(members)s::regclass, %(users)s::regclass, %(key)s,
    %(digest)s, %(since)s, %(lag)s, %(peers)s::integer[]
)
