#!/bin/sh
# Replaces the replicas of one service without downtime: starts the same number of new ones
# and stops the old ones, one by one, once the new ones are ready.
#
#   compose/roll.sh media            with the new QUARTET_MEDIA_TAG in .env
#
# Run it where the stack was started, with the same variables. COMPOSE sets another
# Compose command, such as "docker-compose -f compose/stack.yaml". If the new replicas do
# not become ready, they are removed and the old ones stay. Not for the gateway: its port
# can belong to only one container (docs/adr/0008-compose.md).
set -eu

service="${1:?usage: roll.sh SERVICE (core, media or links)}"
wait_seconds="${ROLL_WAIT_SECONDS:-120}"
# The time from readiness until the gateway uses a replica: it resolves names every two
# seconds.
settle_seconds="${ROLL_SETTLE_SECONDS:-5}"

compose() { ${COMPOSE:-docker compose} "$@"; }
running() {
  for id in $(compose ps -q "$service"); do
    [ "$(docker inspect --format '{{.State.Running}}' "$id")" = true ] && echo "$id"
  done
}
health() { docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$1"; }

# Otherwise a dead replica would be restarted instead of a new one.
compose rm -f "$service" >/dev/null
old="$(running)"
[ -n "$old" ] || { echo "roll: no replica of $service is running" >&2; exit 1; }
count="$(echo "$old" | wc -l)"

echo "roll: starting $count more of $service"
compose up -d --no-deps --no-build --no-recreate --scale "$service=$((count * 2))" "$service"
new="$(running | grep -vxF "$old")"

deadline=$(($(date +%s) + wait_seconds))
for id in $new; do
  while [ "$(health "$id")" != healthy ]; do
    if [ "$(date +%s)" -ge "$deadline" ]; then
      echo "roll: $id is $(health "$id") after $wait_seconds s; keeping the old replicas. Its last lines:" >&2
      docker logs --tail 5 "$id" >&2
      docker rm -f $new >/dev/null
      exit 1
    fi
    sleep 1
  done
done
sleep "$settle_seconds"

for id in $old; do
  echo "roll: stopping $(docker inspect --format '{{.Name}}' "$id")"
  docker stop "$id" >/dev/null
  docker rm "$id" >/dev/null
done
echo "roll: $count of $service replaced"
