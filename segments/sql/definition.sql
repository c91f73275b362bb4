-- Definitions: the parts of a live view, and what compiling one asks of the catalog.


-- name: wrap_distinct
-- Part of a live view, if every id that the definition selects is known to be the key of a user.
SELECT DISTINCT definition.{column}::{key_type} AS user_id
FROM (
{definition}
) AS definition{aliases}
WHERE definition.{column} IS NOT NULL


-- name: wrap_semi_join
-- Part of a live view, if the definition may also select ids that are not users. The qualifier is
-- vital: without it, a definition that lacks the column would select every user, since the name
-- would then refer to the table of users.
SELECT u.{key}::{key_type} AS user_id
FROM {users} AS u
WHERE u.{key} IN (SELECT definition.{column} FROM (
{definition}
) AS definition{aliases})


-- name: wrap_static_ids
-- Part of a live view: the users in a segment's list of ids.
SELECT u.{key}::{key_type} AS user_id
FROM {users} AS u
WHERE u.{key} IN (SELECT s.user_id FROM {static} AS s WHERE s.segment_id = {segment})


-- name: select_nobody
-- Part of a live view, and of statements with a queryset: one that is known to be empty.
SELECT {key} FROM {users} WHERE false


-- name: is_live_view
-- Part of statements that ask about a relation c: whether it is the live view of a segment. The
-- materialized view of members reads that, and comments may be lost in a restore.
coalesce(c.relkind = 'v' AND c.relnamespace = to_regnamespace(%(live_schema)s), false)


-- name: select_certain_origin
-- Runs while a definition with one possible column of ids is compiled. Locks nothing. Returns the
-- column if it is the key of the users, or has a validated foreign key to it, so that its values
-- certainly are keys of existing users. This takes a sixth of the time of select_origins, which
-- answers otherwise. A table that other tables inherit from proves nothing about their rows, unless
-- they are its partitions.
SELECT
    a.attrelid::bigint AS relation,
    a.attnum AS number,
    a.attrelid::regclass::text AS table_name,
    a.attname::text AS column_name,
    true AS certain,
    true AS proved,
    false AS related,
    a.attrelid = users.attrelid AS of_users,
    '{}'::text[] AS elsewhere
FROM pg_catalog.pg_attribute AS a, pg_catalog.pg_attribute AS users
WHERE a.attrelid = %(table)s AND a.attnum = %(number)s
    AND users.attrelid = %(users)s::regclass AND users.attname = %(key)s
    AND ((a.attrelid, a.attnum) = (users.attrelid, users.attnum) OR EXISTS (
        SELECT FROM pg_catalog.pg_constraint AS c
        WHERE c.conrelid = a.attrelid AND c.contype = 'f' AND c.convalidated AND c.conkey = ARRAY[a.attnum]
            AND c.confrelid = users.attrelid AND c.confkey = ARRAY[users.attnum]
    ))
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_inherits AS i
        JOIN pg_catalog.pg_class AS c ON c.oid = i.inhparent
        WHERE i.inhparent = a.attrelid AND c.relkind <> 'p'
    )


-- name: select_origins
-- Runs while a definition is compiled. Locks nothing. Returns what the catalog knows of columns:
-- whether their values are keys of users, and if not, of what. Number NULL asks for all columns of
-- a table.
--
-- A chain leads from a column to the columns that its values come from or refer to: along foreign
-- keys, from a partition or a child to its parent, and from a view to what it reads. A column that
-- leads to the key of the users holds users. They are certain to exist if the foreign keys on the
-- way are validated, and no table on it is a view or inherits. What the key of the users itself
-- refers to, as that of an inherited user model does, has keys of the same kind. Any other column
-- that leads to a unique key holds something else. A chain ends after 16 steps, since foreign keys
-- can form a circle.
WITH RECURSIVE user_key (relation, number) AS (
    SELECT attrelid, attnum FROM pg_catalog.pg_attribute WHERE attrelid = %(users)s::regclass AND attname = %(key)s
),
asked (relation, number) AS (
    SELECT a.attrelid, a.attnum
    FROM unnest(%(tables)s::oid[], %(numbers)s::integer[]) AS argument (relation, number)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = argument.relation
    WHERE a.attnum = argument.number OR argument.number IS NULL AND a.attnum > 0 AND NOT a.attisdropped
),
chain (start, start_number, relation, number, certain, refers, steps) AS (
    SELECT relation, number, relation, number, NOT EXISTS (
        SELECT FROM pg_catalog.pg_inherits AS i
        JOIN pg_catalog.pg_class AS parent ON parent.oid = i.inhparent
        WHERE i.inhparent = origin.relation AND parent.relkind <> 'p'
    ), false, 0
    FROM (TABLE asked UNION TABLE user_key) AS origin
    UNION
    SELECT
        chain.start, chain.start_number, step.relation, step.number,
        chain.certain AND step.certain, chain.refers OR step.refers, chain.steps + 1
    FROM chain
    JOIN pg_catalog.pg_class AS c ON c.oid = chain.relation
    CROSS JOIN LATERAL (
        SELECT
        -- part: is_live_view
    ) AS view (live)
    CROSS JOIN LATERAL (
        SELECT f.confrelid, pair.confkey, f.convalidated AND cardinality(f.conkey) = 1, true
        FROM pg_catalog.pg_constraint AS f
        CROSS JOIN LATERAL unnest(f.conkey, f.confkey) AS pair (conkey, confkey)
        WHERE f.conrelid = chain.relation AND f.contype = 'f' AND pair.conkey = chain.number
        UNION ALL
        SELECT i.inhparent, parent.attnum, c.relispartition, false
        FROM pg_catalog.pg_inherits AS i
        JOIN pg_catalog.pg_attribute AS child ON child.attrelid = i.inhrelid AND child.attnum = chain.number
        JOIN pg_catalog.pg_attribute AS parent ON parent.attrelid = i.inhparent AND parent.attname = child.attname
        WHERE i.inhrelid = chain.relation
        UNION ALL
        SELECT user_key.relation, user_key.number, false, false
        FROM user_key
        WHERE view.live
        UNION ALL
        -- Postgres has traced each column when the view was created. The entries of the view's own
        -- list of columns are at the second level of braces; those in names are escaped.
        SELECT source[2]::oid, source[3]::smallint, false, false
        FROM (
            SELECT token[2] AS text, sum(CASE token[1] WHEN '{' THEN 1 ELSE -1 END) OVER (ORDER BY place) AS depth
            FROM pg_catalog.pg_rewrite AS w
            CROSS JOIN LATERAL pg_catalog.regexp_matches(
                pg_catalog.regexp_replace(w.ev_action::text, '\\.', '', 'g'), '([{}])([^{}]*)', 'g'
            ) WITH ORDINALITY AS match (token, place)
            WHERE w.ev_class = chain.relation AND w.ev_type = '1' AND c.relkind IN ('v', 'm') AND NOT view.live
        ) AS node
        CROSS JOIN LATERAL pg_catalog.regexp_match(
            node.text, '^ :resno (\d+) .*:resorigtbl (\d+) :resorigcol (\d+) :resjunk false'
        ) AS source
        WHERE node.depth = 2 AND source[1]::smallint = chain.number AND source[2] <> '0'
    ) AS step (relation, number, certain, refers)
    WHERE chain.steps < 16
),
kin AS (
    SELECT chain.relation, chain.number
    FROM chain
    JOIN user_key ON user_key.relation = chain.start AND user_key.number = chain.start_number
)
SELECT
    chain.start::bigint AS relation,
    chain.start_number AS number,
    chain.start::regclass::text AS table_name,
    own.attname::text AS column_name,
    bool_or(user_key.number IS NOT NULL AND chain.certain) AS certain,
    bool_or(user_key.number IS NOT NULL) AS proved,
    bool_or((chain.relation, chain.number) IN (TABLE kin)) AS related,
    chain.start = %(users)s::regclass AS of_users,
    ARRAY(SELECT unnest((pg_catalog.array_agg(
        ARRAY[
            CASE WHEN chain.refers THEN 'reference' WHEN key.indisprimary THEN 'key' ELSE 'unique' END,
            chain.relation::regclass::text,
            target.attname::text
        ] ORDER BY chain.refers, chain.steps
    ) FILTER (
        WHERE key.indisprimary IS NOT NULL OR chain.refers AND chain.relation = %(users)s::regclass
    ))[1:1])) AS elsewhere
FROM chain
JOIN asked ON asked.relation = chain.start AND asked.number = chain.start_number
JOIN pg_catalog.pg_attribute AS own ON own.attrelid = chain.start AND own.attnum = chain.start_number
JOIN pg_catalog.pg_attribute AS target ON target.attrelid = chain.relation AND target.attnum = chain.number
LEFT JOIN user_key ON user_key.relation = chain.relation AND user_key.number = chain.number
LEFT JOIN LATERAL (
    SELECT i.indisprimary
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid AND c.relkind IN ('r', 'p')
    WHERE i.indrelid = chain.relation AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
        AND i.indnkeyatts = 1 AND i.indkey[0] = chain.number
    ORDER BY i.indisprimary DESC
    LIMIT 1
) AS key ON true
GROUP BY chain.start, chain.start_number, own.attname
ORDER BY chain.start, chain.start_number


-- name: select_type_name
-- Runs when a definition selects ids of a wrong type. Locks nothing. Returns the name of the type.
SELECT pg_catalog.format_type(%(oid)s, NULL)


-- name: select_offences
-- Runs after a view of a definition was created, before anything of it is evaluated. Locks
-- nothing. Returns what the view's query does besides reading, what it calls that cannot be stopped,
-- and what it may not read.
SELECT what, name FROM {offences}(%(view)s::regclass, %(harmless)s, %(unstoppable)s, %(package)s)


-- name: create_incoming_ids
-- Runs when static ids are checked or saved, and when users who would enter or leave are
-- downloaded. Needs TEMP on the database. Locks nothing.
CREATE TEMPORARY TABLE segments_incoming (line bigint, user_id {key_type}) ON COMMIT DROP


-- name: copy_incoming_ids
-- Runs when static ids are checked or saved, and when users who would enter or leave are
-- downloaded. Streams the ids, so Python never holds them all.
COPY pg_temp.segments_incoming (line, user_id) FROM STDIN


-- name: select_unknown_ids
-- Runs when static ids are checked or saved. Takes AccessShare on the table of users. Returns the
-- first lines that name no user, and how many there are in all.
SELECT i.line, i.user_id, count(*) OVER () AS total
FROM pg_temp.segments_incoming AS i
WHERE NOT EXISTS (SELECT FROM {users} AS u WHERE u.{key} = i.user_id)
ORDER BY i.line
LIMIT %(limit)s


-- name: replace_static_ids
-- Runs when static ids are saved. Takes row locks on the ids that are no longer listed, and on those
-- that are newly listed. Returns how many ids are added and removed.
WITH compared AS MATERIALIZED (
    SELECT l.user_id AS listed, s.place
    FROM (SELECT DISTINCT user_id FROM pg_temp.segments_incoming) AS l
    -- part: joined_list
    WHERE l.user_id IS NULL OR s.place IS NULL
),
-- part: deleted_users
,
-- part: inserted_users
,
-- part: kept_changes
SELECT (SELECT count(*) FROM inserted) AS added, (SELECT count(*) FROM deleted) AS removed


-- name: select_incoming_ids
-- Part of the query for users who would enter or leave.
SELECT user_id FROM pg_temp.segments_incoming


-- name: drop_incoming_ids
-- Runs when static ids have been checked or saved, since the caller's transaction may go on to
-- save others.
DROP TABLE pg_temp.segments_incoming


-- name: define_members
-- Part of definitions that combine segments: the members of one at its last refresh.
SELECT user_id FROM {view}


-- name: define_sample
-- Part of the definition of a sample. The hash is the same on every server and for every type of
-- key, and that of another seed is independent of it. The percentage is there for the reader.
SELECT user_id FROM {view}
WHERE ('x' || left(md5({seed} || user_id::text), 8))::bit(32)::bigint < {limit} -- {percent} % of 2^32


-- name: insert_incoming_ids
-- Runs when a list of ids is copied from another segment. Takes AccessShare on what the query reads
-- and on the table of users. Leaves out users who were deleted.
INSERT INTO pg_temp.segments_incoming (user_id)
SELECT copied.user_id FROM ({query}) AS copied (user_id)
WHERE copied.user_id IN (SELECT u.{key} FROM {users} AS u)


-- name: select_listed_ids
-- Part of insert_incoming_ids: the list of a segment.
SELECT s.user_id FROM {static} AS s WHERE s.segment_id = {segment}
