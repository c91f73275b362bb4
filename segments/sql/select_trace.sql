-- Runs right before a REFRESH; locks nothing. What a segment reads, at a moment of the server's clock.
SELECT
    pg_catalog.clock_timestamp() AS moment,
    {trace}(%(live)s::regclass, %(members)s::regclass, %(users)s::regclass, %(key)s) AS digest
