-- One login role per service, each with its own schema and no access to the others.
-- Run it with psql as an administrator who owns the database and may create roles.
-- It needs no superuser, so that any managed Postgres (15 or later) works, and may be
-- repeated:
--
--   QUARTET_CORE_PASSWORD=... QUARTET_MEDIA_PASSWORD=... QUARTET_LINKS_PASSWORD=... \
--     psql "$ADMIN_DATABASE_URL" --single-transaction -f db/roles.sql
--
-- Another run sets the passwords, which rotates them. Requires psql 15 or later, for
-- \getenv.

\set ON_ERROR_STOP on

\getenv core_password QUARTET_CORE_PASSWORD
\getenv media_password QUARTET_MEDIA_PASSWORD
\getenv links_password QUARTET_LINKS_PASSWORD
\if :{?core_password} \else
\set core_password ''
\endif
\if :{?media_password} \else
\set media_password ''
\endif
\if :{?links_password} \else
\set links_password ''
\endif
SELECT '' IN (:'core_password', :'media_password', :'links_password') AS password_missing
\gset
\if :password_missing
DO $$ BEGIN
  RAISE EXCEPTION 'set QUARTET_CORE_PASSWORD, QUARTET_MEDIA_PASSWORD and QUARTET_LINKS_PASSWORD';
END $$;
\endif

-- Roles. The attributes are set by CREATE only: in Postgres 15, ALTER with SUPERUSER or
-- BYPASSRLS requires a superuser, even to remove them.
SELECT format('CREATE ROLE %I LOGIN NOCREATEDB NOCREATEROLE', role)
FROM unnest(ARRAY['quartet_core', 'quartet_media', 'quartet_links']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role)
\gexec

ALTER ROLE quartet_core LOGIN PASSWORD :'core_password';
ALTER ROLE quartet_media LOGIN PASSWORD :'media_password';
ALTER ROLE quartet_links LOGIN PASSWORD :'links_password';

-- To transfer a schema, the administrator must be a member of its new owner. A
-- superuser is; the creator of a role may grant it to itself (since Postgres 16,
-- creating a role does not include that). Revoked at the end.
SELECT format('GRANT %I TO CURRENT_USER', role)
FROM unnest(ARRAY['quartet_core', 'quartet_media', 'quartet_links']) AS role
WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
\gexec

-- The database: only these roles may connect, and none may create schemas.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database())
\gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO quartet_core, quartet_media, quartet_links', current_database())
\gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC;

-- Schemas. The owner has all privileges in its schema, other roles have none.
SELECT format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', service, 'quartet_' || service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service
\gexec
SELECT format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service
\gexec

-- Unqualified names refer to the schema of the role.
SELECT format('ALTER ROLE %I IN DATABASE %I SET search_path = %I', 'quartet_' || service, current_database(), service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service
\gexec

SELECT format('REVOKE %I FROM CURRENT_USER', role)
FROM unnest(ARRAY['quartet_core', 'quartet_media', 'quartet_links']) AS role
WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
\gexec
