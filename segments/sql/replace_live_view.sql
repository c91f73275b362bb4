-- Runs when a definition has changed; AccessExclusive on the live view: waits for its readers and
-- for a running refresh. The members, their OID, GRANTs and dependents are not touched.
CREATE OR REPLACE VIEW {view} AS
{definition}
