-- Runs when static ids are saved; the ids stream in, none are kept in Python.
COPY pg_temp.segments_incoming (line, user_id) FROM STDIN
