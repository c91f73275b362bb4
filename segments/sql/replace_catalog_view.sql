-- Runs at sync and when the schema is created; AccessExclusive on the view for an instant.
-- Columns may only ever be appended.
CREATE OR REPLACE VIEW {view} AS
SELECT
    s.id AS segment_id,
    s.slug,
    s.name,
    s.description,
    {schema}::text || '.' || replace(s.slug, '-', '_') AS view_name,
    CASE
        WHEN s.manager_method <> '' THEN 'manager'
        WHEN s.definition <> '' THEN 'sql'
        ELSE 'static'
    END AS kind,
    s.members_count,
    s.refreshed_at,
    pg_catalog.now() - s.refreshed_at AS age,
    s.status,
    s.last_error,
    last.duration,
    s.failures,
    CASE WHEN s.is_active THEN {due} END AS due
FROM {segment} AS s
LEFT JOIN LATERAL (
    SELECT r.duration
    FROM {refresh} AS r
    WHERE r.segment_id = s.id
    ORDER BY r.started_at DESC
    LIMIT 1
) AS last ON true
