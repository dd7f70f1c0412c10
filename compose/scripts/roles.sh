#!/usr/bin/env bash
# Runs db/roles.sql with the passwords from their files.
set -euo pipefail
cd /run/secrets
for name in core media links; do
  export "QUARTET_${name^^}_PASSWORD=$(cat "$name")" "QUARTET_${name^^}_OWNER_PASSWORD=$(cat "$name-owner")"
done
PGPASSWORD="$(cat password)"
export PGPASSWORD
export PGHOST=postgres PGUSER=postgres PGDATABASE=quartet PGOPTIONS="--client-min-messages=warning"
exec psql --quiet --no-psqlrc --single-transaction --file=/quartet/roles.sql
