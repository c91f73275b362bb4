-- Runs for has_member_live; AccessShare on the live view and on the tables that it reads.
SELECT {function}(%s, %s::{key_type})
