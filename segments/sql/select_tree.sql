-- Runs for a preview; locks nothing. The query of a view, as Postgres keeps it.
SELECT ev_action::text FROM pg_catalog.pg_rewrite WHERE ev_class = %(view)s::regclass
