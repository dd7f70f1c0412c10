#!/bin/bash
# Implements the part of the entrypoint of the official image that Quartet uses:
#
#   POSTGRES_PASSWORD, POSTGRES_PASSWORD_FILE   one is required for a new database
#   POSTGRES_USER (postgres), POSTGRES_DB (the same as the user)
#   POSTGRES_INITDB_ARGS
#   /docker-entrypoint-initdb.d/*.sql, *.sh     run once, in order of their names
#
# Started as root, it changes the owner of the data directory to `postgres` and
# continues as that user; `user:` in a compose file avoids root.
set -Eeuo pipefail

fail() {
  echo "postgres: $*" >&2
  exit 1
}

step_down() {
  mkdir -p "$PGDATA"
  chmod 0700 "$PGDATA"
  find "$PGDATA" \! -user postgres -exec chown postgres: '{}' +
  find /var/run/postgresql \! -user postgres -exec chown postgres: '{}' +
  exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
}

read_settings() {
  if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    [ -z "${POSTGRES_PASSWORD:-}" ] ||
      fail "POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are both set; set one"
    [ -r "$POSTGRES_PASSWORD_FILE" ] ||
      fail "POSTGRES_PASSWORD_FILE names $POSTGRES_PASSWORD_FILE, which cannot be read"
    POSTGRES_PASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")"
  fi
  : "${POSTGRES_USER:=postgres}"
  : "${POSTGRES_DB:=$POSTGRES_USER}"
}

new_cluster() {
  [ -n "${POSTGRES_PASSWORD:-}" ] ||
    fail "a new database needs POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE"
  local arguments=()
  read -r -a arguments <<<"${POSTGRES_INITDB_ARGS:-}"
  initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${arguments[@]}"
  printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
}

run_scripts() {
  local file
  for file in /docker-entrypoint-initdb.d/*; do
    case "$file" in
    *.sh) bash "$file" ;;
    *.sql) psql -v ON_ERROR_STOP=1 --no-psqlrc -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f "$file" ;;
    esac
  done
}

# The first start listens only on the socket, until initialization is complete.
initialize() {
  new_cluster
  export POSTGRES_USER POSTGRES_DB
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start
  [ "$POSTGRES_DB" = postgres ] || createdb -U "$POSTGRES_USER" --maintenance-db=postgres "$POSTGRES_DB"
  run_scripts
  pg_ctl -D "$PGDATA" -m fast -w stop
  echo "postgres: the database is initialized"
}

# `docker run IMAGE -c setting=value` also starts the server.
[ "${1:-}" != "${1#-}" ] && set -- postgres "$@"
if [ "${1:-}" = postgres ]; then
  [ "$(id -u)" -ne 0 ] || step_down "$@"
  read_settings
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initialize
  fi
  unset POSTGRES_PASSWORD
fi
exec "$@"
