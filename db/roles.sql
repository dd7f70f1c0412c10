-- Two login roles per service, with access to nothing but its schema: quartet_core_owner owns
-- the schema and migrates it, quartet_core serves requests. The second holds grants only:
-- new tables get SELECT, INSERT, UPDATE and DELETE by default privileges, and a migration
-- revokes what a table that only grows must not allow (docs/adr/0019-two-roles-per-schema.md).
--
-- Run it with psql as an administrator who owns the database and may create roles.
-- It needs no superuser, so that any managed Postgres (15 or later) works, and may be
-- repeated:
--
--   QUARTET_CORE_PASSWORD=... QUARTET_CORE_OWNER_PASSWORD=... \
--   QUARTET_MEDIA_PASSWORD=... QUARTET_MEDIA_OWNER_PASSWORD=... \
--   QUARTET_LINKS_PASSWORD=... QUARTET_LINKS_OWNER_PASSWORD=... \
--     psql "$ADMIN_DATABASE_URL" --single-transaction -f db/roles.sql
--
-- Another run sets the passwords, which rotates them. Requires psql 15 or later, for
-- \getenv. Other databases of the server are not touched. PUBLIC loses its rights in this
-- database, unless others use it, too.

\set ON_ERROR_STOP on

\getenv core_password QUARTET_CORE_PASSWORD
\getenv core_owner_password QUARTET_CORE_OWNER_PASSWORD
\getenv media_password QUARTET_MEDIA_PASSWORD
\getenv media_owner_password QUARTET_MEDIA_OWNER_PASSWORD
\getenv links_password QUARTET_LINKS_PASSWORD
\getenv links_owner_password QUARTET_LINKS_OWNER_PASSWORD
\if :{?core_password} \else
\set core_password ''
\endif
\if :{?core_owner_password} \else
\set core_owner_password ''
\endif
\if :{?media_password} \else
\set media_password ''
\endif
\if :{?media_owner_password} \else
\set media_owner_password ''
\endif
\if :{?links_password} \else
\set links_password ''
\endif
\if :{?links_owner_password} \else
\set links_owner_password ''
\endif
SELECT '' IN (:'core_password', :'core_owner_password', :'media_password', :'media_owner_password',
              :'links_password', :'links_owner_password') AS password_missing
\gset
\if :password_missing
DO $$ BEGIN
  RAISE EXCEPTION 'set QUARTET_CORE_PASSWORD, QUARTET_MEDIA_PASSWORD, QUARTET_LINKS_PASSWORD and the same with _OWNER_PASSWORD';
END $$;
\endif

-- Roles. The attributes are set by CREATE only: in Postgres 15, ALTER with SUPERUSER or
-- BYPASSRLS requires a superuser, even to remove them.
SELECT format('CREATE ROLE %I LOGIN NOCREATEDB NOCREATEROLE', role)
FROM unnest(ARRAY['quartet_core', 'quartet_media', 'quartet_links']) AS service,
     unnest(ARRAY[service, service || '_owner']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role)
\gexec

ALTER ROLE quartet_core LOGIN PASSWORD :'core_password';
ALTER ROLE quartet_core_owner LOGIN PASSWORD :'core_owner_password';
ALTER ROLE quartet_media LOGIN PASSWORD :'media_password';
ALTER ROLE quartet_media_owner LOGIN PASSWORD :'media_owner_password';
ALTER ROLE quartet_links LOGIN PASSWORD :'links_password';
ALTER ROLE quartet_links_owner LOGIN PASSWORD :'links_owner_password';

-- To transfer a schema and to set default privileges, the administrator must be a member of the
-- owner. A superuser is; the creator of a role may grant it to itself (since Postgres 16,
-- creating a role does not include that). Revoked at the end.
SELECT format('GRANT quartet_%s_owner TO CURRENT_USER', service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service
WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
\gexec

-- The database: only these roles may connect, and none may create schemas. If another role owns
-- or was granted anything in it, that role may depend on the rights of PUBLIC.
SELECT EXISTS (
    SELECT FROM pg_shdepend AS d
    JOIN pg_database AS b ON b.oid = d.dbid AND b.datname = current_database()
    JOIN pg_roles AS r ON r.oid = d.refobjid
    WHERE d.refclassid = 'pg_authid'::regclass
      AND r.rolname <> current_user AND r.rolname !~ '^quartet_(core|media|links)(_owner)?$'
) AS shared
\gset
\if :shared
DO $$ BEGIN
  RAISE WARNING 'other roles use this database: the rights of PUBLIC in it are kept';
END $$;
\else
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database())
\gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC;
\endif
SELECT format('GRANT CONNECT ON DATABASE %I TO quartet_%s, quartet_%s_owner', current_database(), service, service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service
\gexec

-- Schemas. The owner has all privileges in its schema, the role of the service uses what is
-- in it, other roles have none.
SELECT format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', service, 'quartet_' || service || '_owner')
FROM unnest(ARRAY['core', 'media', 'links']) AS service
\gexec
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_namespace WHERE nspname IN ('core', 'media', 'links')
             AND pg_get_userbyid(nspowner) <> 'quartet_' || nspname || '_owner') THEN
    RAISE EXCEPTION 'a schema core, media or links exists and has another owner than quartet_NAME_owner';
  END IF;
END $$;
SELECT format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', service),
       format('GRANT USAGE ON SCHEMA %I TO quartet_%s', service, service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service
\gexec

-- What the owner creates from now on. Functions belong to PUBLIC by default, in all schemas.
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT %s TO quartet_%s',
              'quartet_' || service || '_owner', service, privileges, service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service,
     unnest(ARRAY['SELECT, INSERT, UPDATE, DELETE ON TABLES', 'USAGE, SELECT ON SEQUENCES',
                  'EXECUTE ON FUNCTIONS', 'USAGE ON TYPES']) AS privileges
UNION ALL
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE quartet_%s_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC', service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service
\gexec

-- Unqualified names refer to the schema of the role.
SELECT format('ALTER ROLE %I IN DATABASE %I SET search_path = %I', role, current_database(), service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service,
     unnest(ARRAY['quartet_' || service, 'quartet_' || service || '_owner']) AS role
\gexec

-- Behind a pooler in transaction mode a session cannot set this at its start. Kept if it is set.
SELECT format('ALTER ROLE quartet_%s IN DATABASE %I SET statement_timeout = %L', service, current_database(), '15s')
FROM unnest(ARRAY['core', 'media', 'links']) AS service
WHERE NOT EXISTS (
    SELECT FROM pg_db_role_setting AS s
    JOIN pg_database AS b ON b.oid = s.setdatabase AND b.datname = current_database()
    JOIN pg_roles AS r ON r.oid = s.setrole AND r.rolname = 'quartet_' || service,
    unnest(s.setconfig) AS setting
    WHERE setting LIKE 'statement_timeout=%')
\gexec

SELECT format('REVOKE quartet_%s_owner FROM CURRENT_USER', service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service
WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
\gexec
