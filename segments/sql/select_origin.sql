-- Runs while a definition is compiled; locks nothing. Whether every value of a table's column is
-- known to be the key of an existing user: it is that key, or has a validated foreign key to it.
-- A table that others inherit from (not partitions) proves nothing of their rows.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = %(users)s::regclass AND a.attname = %(key)s
        AND a.attrelid = %(table)s AND a.attnum = %(column)s
    UNION ALL
    SELECT FROM pg_catalog.pg_constraint AS c
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.confrelid AND a.attnum = c.confkey[1]
    WHERE c.contype = 'f' AND c.convalidated
        AND c.conrelid = %(table)s AND c.conkey = ARRAY[%(column)s]::smallint[]
        AND c.confrelid = %(users)s::regclass AND a.attname = %(key)s
) AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_inherits AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.inhparent
    WHERE i.inhparent = %(table)s AND c.relkind <> 'p'
)
