-- Runs when a slug has changed; AccessExclusive on the live view for an instant.
ALTER VIEW {view} RENAME TO {name}
