#!/usr/bin/env bash
# Runs db/roles.sql with the passwords from their files.
set -euo pipefail
cd /run/secrets
QUARTET_CORE_PASSWORD="$(cat core)"
QUARTET_MEDIA_PASSWORD="$(cat media)"
QUARTET_LINKS_PASSWORD="$(cat links)"
PGPASSWORD="$(cat password)"
export QUARTET_CORE_PASSWORD QUARTET_MEDIA_PASSWORD QUARTET_LINKS_PASSWORD PGPASSWORD
export PGHOST=postgres PGUSER=postgres PGDATABASE=quartet PGOPTIONS="--client-min-messages=warning"
exec psql --quiet --no-psqlrc --single-transaction --file=/quartet/roles.sql
