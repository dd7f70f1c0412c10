#!/usr/bin/env bash
# Builds substitutes for third-party base images, for machines that cannot pull
# images: from Debian packages, and from crates.io. Each is built once; `--force`
# rebuilds it.
#
#   deploy/images/make.sh [--force] debian     quartet/local-debian:bookworm    60 s
#   deploy/images/make.sh [--force] postgres   quartet/local-postgres:15        20 s more
#   deploy/images/make.sh [--force] rust       quartet/local-rust:1.95.0        compiler for deploy/Dockerfile
#   deploy/images/make.sh [--force] garage     quartet/local-garage:2.5.0       35 minutes on two busy cores
#
# Requires a Docker engine (DOCKER_HOST), mmdebstrap, and mirrors of Debian and
# crates.io. DOCKER sets another client.
set -euo pipefail
cd "$(dirname "$0")"

suite=bookworm
postgres_major=15
garage_version=2.5.0
rust_version="$(sed -n 's/^channel = "\(.*\)"/\1/p' ../../rust-toolchain.toml)"

docker="${DOCKER:-docker}"
force=

say() { echo "images: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

exists() { [ -z "$force" ] && "$docker" image inspect "$1" >/dev/null 2>&1; }

# Uses the network of the host, to reach its mirrors.
build() { "$docker" build --quiet --network host "$@" >/dev/null; }

debian() {
  exists "quartet/local-debian:$suite" && return
  command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing; install Debian's package of that name"
  say "making quartet/local-debian:$suite"
  # With the CAs of this machine, which its mirrors may need.
  mmdebstrap --quiet --variant=minbase --include=ca-certificates \
    --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs' "$suite" - |
    "$docker" import - "quartet/local-debian:$suite" >/dev/null
}

postgres() {
  exists "quartet/local-postgres:$postgres_major" && return
  without_force debian
  say "making quartet/local-postgres:$postgres_major"
  build --tag "quartet/local-postgres:$postgres_major" \
    --build-arg "BASE=quartet/local-debian:$suite" \
    --build-arg "POSTGRES_MAJOR=$postgres_major" postgres
}

# The compiler installed on this machine, on a new Debian.
rust() {
  exists "quartet/local-rust:$rust_version" && return
  without_force debian
  say "making quartet/local-rust:$rust_version"
  build --tag "quartet/local-rust:$rust_version" --file rust/Dockerfile \
    --build-arg "BASE=quartet/local-debian:$suite" \
    "$(rustc "+$rust_version" --print sysroot)"
}

# Static, so that it needs no base image; same layout as the official image.
garage() {
  exists "quartet/local-garage:$garage_version" && return
  local root="${TMPDIR:-/tmp}/quartet-garage-$garage_version"
  say "compiling garage $garage_version; this takes long"
  RUSTFLAGS="-C target-feature=+crt-static" nice cargo "+$rust_version" install garage \
    --quiet --locked --version "$garage_version" --root "$root" \
    --target "$(rustc "+$rust_version" --print host-tuple)"
  strip "$root/bin/garage"
  tar --directory "$root/bin" --owner=0 --group=0 --create garage |
    "$docker" import --change 'ENV RUST_LOG=garage=info' --change 'CMD ["/garage", "server"]' \
      - "quartet/local-garage:$garage_version" >/dev/null
  rm -rf "$root"
}

# Base images are not rebuilt.
without_force() { force="" "$1"; }

[ "${1:-}" = --force ] && force=yes && shift
[ "$#" -gt 0 ] || fail "usage: make.sh [--force] debian|postgres|rust|garage"
"$docker" version >/dev/null 2>&1 || fail "no Docker engine answers; set DOCKER_HOST"
for name in "$@"; do
  case "$name" in
  debian | postgres | rust | garage) "$name" ;;
  *) fail "there is no \`$name\`; say debian, postgres, rust or garage" ;;
  esac
done
