#!/usr/bin/env bash
# Creates missing secrets, each in the volumes of the services that may read it, and sets
# the owners of the volumes to the users of the containers. Keeps what exists.
set -euo pipefail
umask 077

# The user of the service images, of Garage and of the development store.
service=65532

fail() { echo "secrets: $*" >&2; exit 1; }

# random BYTES: as hexadecimal digits
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# put FILE VALUE: atomically, so that a crash leaves no partial secret
put() {
  printf '%s' "$2" >"$1.new"
  sync "$1.new"
  mv "$1.new" "$1"
}

# create FILE VALUE: unless it exists
create() { [ -s "$1" ] || { put "$1" "$2" && echo "secrets: created ${1#/secrets/}"; }; }

own() { chown -R "$1" "$2" && find "$2" -type d -exec chmod 700 {} + && find "$2" -type f -exec chmod 400 {} +; }

cd /secrets
create postgres/password "$(random 24)"
for name in core media links; do
  # The role that serves requests, and the one that owns the schema.
  create "postgres/$name" "$(random 24)"
  put "$name/database_url" "postgres://quartet_$name:$(cat "postgres/$name")@postgres:5432/quartet"
  create "postgres/$name-owner" "$(random 24)"
  put "$name-owner/database_url" "postgres://quartet_${name}_owner:$(cat "postgres/$name-owner")@postgres:5432/quartet"
done
create core/master_key "$(random 32)"
# Signs events, and what the gateway asks core: the same for the service that publishes and those that
# receive. Hexadecimal digits are base64, too.
create postgres/events_secret "whsec_$(random 32)"
for name in core media links gateway; do put "$name/events_secret" "$(cat postgres/events_secret)"; done

# The key of the object store: given for an external store, otherwise created.
[ -n "$QUARTET_S3_ACCESS_KEY" ] && [ -z "$QUARTET_S3_SECRET_KEY" ] && fail "QUARTET_S3_ACCESS_KEY is set and QUARTET_S3_SECRET_KEY is not"
if [ -n "$QUARTET_S3_ACCESS_KEY" ]; then
  put media/s3_access_key "$QUARTET_S3_ACCESS_KEY"
  put media/s3_secret_key "$QUARTET_S3_SECRET_KEY"
else
  # Garage requires this form: GK and 12 bytes, and 32 bytes.
  create store/access_key "GK$(random 12)"
  create store/secret_key "$(random 32)"
  put media/s3_access_key "$(cat store/access_key)"
  put media/s3_secret_key "$(cat store/secret_key)"
fi
create store/rpc_secret "$(random 32)"
create store/admin_token "$(random 32)"

if [ -d grafana ]; then
  create grafana/admin_password "$(random 16)"
  own 472:0 grafana
fi

# Volumes of ../valkey.yaml.
if [ -d valkey ]; then
  create valkey/password "$(random 24)"
  put valkey/valkey.conf "requirepass $(cat valkey/password)"
  put gateway/valkey_password "$(cat valkey/password)"
  own "$service:$service" valkey
fi

for name in core media links core-owner media-owner links-owner gateway store; do own "$service:$service" "$name"; done
own postgres:postgres postgres
cd /data
chown postgres:postgres postgres
chown "$service:$service" store clicks
chmod 700 postgres store clicks

[ ! -d valkey ] || chown "$service:$service" valkey

# Volumes of ../observability.yaml, with the users of those images.
for volume in prometheus:65534 loki:10001 tempo:10001 grafana:472; do
  [ ! -d "${volume%:*}" ] || chown "${volume#*:}" "${volume%:*}"
done
