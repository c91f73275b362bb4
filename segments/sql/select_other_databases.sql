-- Runs for segments_grants --revoke; locks nothing. The other databases in which a role owns something or
-- was given a right.
SELECT DISTINCT d.datname::text AS database
FROM pg_catalog.pg_shdepend AS s
JOIN pg_catalog.pg_database AS d
    ON d.oid = s.dbid OR s.dbid = 0 AND s.classid = 'pg_catalog.pg_database'::regclass AND d.oid = s.objid
WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass
    AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s)
    AND d.datname <> pg_catalog.current_database()
ORDER BY 1
