-- One login role per service, each with a schema of its own and shut out of the
-- others'. Run it with psql, as often as you like, as an administrator who owns
-- the database and may create roles; no superuser is needed, so that any managed
-- Postgres (15 or later) will do:
--
--   QUARTET_CORE_PASSWORD=... QUARTET_MEDIA_PASSWORD=... QUARTET_LINKS_PASSWORD=... \
--     psql "$ADMIN_DATABASE_URL" --single-transaction -f db/roles.sql
--
-- A second run sets the passwords anew: that is how they are rotated.
-- (psql 15 or later: it reads the environment by \getenv.)

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

-- Roles. The attributes stand in CREATE only: in Postgres 15 naming SUPERUSER or
-- BYPASSRLS in ALTER, even to refuse it, needs a superuser.
SELECT format('CREATE ROLE %I LOGIN NOCREATEDB NOCREATEROLE', role)
FROM unnest(ARRAY['quartet_core', 'quartet_media', 'quartet_links']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role)
\gexec

ALTER ROLE quartet_core LOGIN PASSWORD :'core_password';
ALTER ROLE quartet_media LOGIN PASSWORD :'media_password';
ALTER ROLE quartet_links LOGIN PASSWORD :'links_password';

-- To give a schema away, the administrator must be able to act as its new owner.
-- A superuser is; whoever made the role may grant it to himself (from Postgres 16
-- on, creating a role alone does not include that). Taken back at the end.
SELECT format('GRANT %I TO CURRENT_USER', role)
FROM unnest(ARRAY['quartet_core', 'quartet_media', 'quartet_links']) AS role
WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
\gexec

-- The database: nobody enters it or makes schemas in it but by name.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database())
\gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO quartet_core, quartet_media, quartet_links', current_database())
\gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC;

-- Schemas. An owner can do everything in its schema; nobody else can look into it.
SELECT format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', service, 'quartet_' || service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service
\gexec
SELECT format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service
\gexec

-- Unqualified names mean the role's own schema.
SELECT format('ALTER ROLE %I IN DATABASE %I SET search_path = %I', 'quartet_' || service, current_database(), service)
FROM unnest(ARRAY['core', 'media', 'links']) AS service
\gexec

SELECT format('REVOKE %I FROM CURRENT_USER', role)
FROM unnest(ARRAY['quartet_core', 'quartet_media', 'quartet_links']) AS role
WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
\gexec
