-- Runs for is_member with a slug; AccessShare on the members, one probe of their unique index.
SELECT {function}(%s, %s::{key_type})
