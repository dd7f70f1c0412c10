#!/usr/bin/env bash
# Creates the key and the two buckets in Garage, through its admin API, if they are missing,
# and publishes the public one through its web server. Keeps what exists.
set -euo pipefail

host=store
port=3903
cd /run/secrets
token="$(cat admin_token)"
access_key="$(cat access_key)"
secret_key="$(cat secret_key)"

fail() { echo "buckets: $*" >&2; exit 1; }

# call METHOD PATH [JSON]: sets $status and $body. The image has no HTTP client; Garage
# closes the connection after an HTTP/1.0 request.
call() {
  local json="${3:-}" response
  exec 3<>"/dev/tcp/$host/$port" || return 1
  printf '%s %s HTTP/1.0\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
    "$1" "$2" "$host" "$token" "${#json}" "$json" >&3
  response="$(cat <&3)"
  exec 3>&-
  status="$(head -n1 <<<"$response" | cut -d' ' -f2)"
  body="${response#*$'\r\n\r\n'}"
}

# must WHAT METHOD PATH [JSON]
must() {
  local what="$1"
  shift
  call "$@" 2>/dev/null || fail "$what: Garage is unreachable at $host:$port"
  [ "$status" = 200 ] || fail "$what: Garage returned $status: $(tr -d '\n' <<<"$body")"
}

# The first "id" in the response; ids are hexadecimal.
id() { sed -n 's/.*"id": *"\([0-9a-f]*\)".*/\1/p' <<<"$body" | head -n1; }

wait_until_up() {
  local deadline=$((SECONDS + 60))
  until call GET /health 2>/dev/null && [ "$status" = 200 ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "Garage is not healthy after a minute"
    sleep 0.2
  done
}

key() {
  call GET "/v2/GetKeyInfo?id=$access_key"
  [ "$status" = 200 ] && return
  must "create the key" POST /v2/ImportKey \
    "{\"accessKeyId\":\"$access_key\",\"secretAccessKey\":\"$secret_key\",\"name\":\"quartet-media\"}"
  echo "buckets: created the key"
}

# bucket NAME WEBSITE-SETTINGS
bucket() {
  call GET "/v2/GetBucketInfo?globalAlias=$1"
  if [ "$status" != 200 ]; then
    must "create bucket $1" POST /v2/CreateBucket "{\"globalAlias\":\"$1\"}"
    echo "buckets: created $1"
  fi
  local bucket_id
  bucket_id="$(id)"
  must "allow the key to use $1" POST /v2/AllowBucketKey \
    "{\"bucketId\":\"$bucket_id\",\"accessKeyId\":\"$access_key\",\"permissions\":{\"read\":true,\"write\":true,\"owner\":false}}"
  must "configure $1" POST "/v2/UpdateBucket?id=$bucket_id" "{\"websiteAccess\":$2$(cors)}"
}

# The origins that may upload and download from a browser. If empty, the rules are kept.
cors() {
  [ -n "$CORS_ORIGINS" ] || return 0
  local origins="\"${CORS_ORIGINS//,/\",\"}\""
  printf ',"corsRules":[{"AllowedOrigin":[%s],"AllowedMethod":["GET","HEAD","PUT"],"AllowedHeader":["*"],"ExposeHeader":["ETag"],"MaxAgeSeconds":3600}]' "${origins// /}"
}

wait_until_up
key
bucket "$PRIVATE_BUCKET" '{"enabled":false}'
bucket "$PUBLIC_BUCKET" '{"enabled":true,"indexDocument":"index.html"}'
