-- Runs when a slug has changed; AccessExclusive on the members for an instant.
ALTER MATERIALIZED VIEW {view} RENAME TO {name}
