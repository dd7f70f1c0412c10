#!/bin/sh
# skeleton.sh FROM TO: writes the input of the dependency build, without our code:
# manifests, the lock file, the configuration of cargo, and an empty source wherever
# cargo expects one. An image layer built from it is valid until a dependency changes.
#
# Versions of services are removed: a release does not change dependencies. Crates
# that replace published ones ([patch.crates-io]) are copied completely, since
# dependencies are compiled from them.
set -eu
from="$1"
to="$2"

mkdir -p "$to"
cd "$from"
cp -p Cargo.toml Cargo.lock "$to/"
cp -pR .cargo "$to/"

find . -name Cargo.toml -not -path './Cargo.toml' | while read -r manifest; do
  package="${manifest%/Cargo.toml}"
  mkdir -p "$to/$package"
  cp -p "$manifest" "$to/$package/"
  # main.rs, src/main.rs, src/lib.rs, src/bin/*.rs, build.rs, tests/it/main.rs, ...
  find "$package" \( -name main.rs -o -name lib.rs -o -name build.rs -o -path '*/src/bin/*.rs' \) |
    while read -r source; do
      mkdir -p "$to/${source%/*}"
      case "$source" in
      */lib.rs) : >"$to/$source" ;;
      *) echo 'fn main() {}' >"$to/$source" ;;
      esac
    done
done

sed -n '/^\[patch/,/^\[[^p]/s/.*path *= *"\([^"]*\)".*/\1/p' Cargo.toml | while read -r patched; do
  cp -pR "$patched/." "$to/$patched/"
done

unversioned() {
  sed '/^\[package\]/,/^\[[^p]/s/^version *= *".*"/version = "0.0.0"/' "$1" >"$2"
}
for manifest in services/*/Cargo.toml; do
  unversioned "$manifest" "$to/$manifest"
  name="$(sed -n '/^\[package\]/,/^\[[^p]/s/^name *= *"\(.*\)"/\1/p' "$manifest")"
  if grep -q '^version *= *"' "$manifest"; then
    sed "/^name = \"$name\"\$/{n;s/^version = .*/version = \"0.0.0\"/;}" "$to/Cargo.lock" >"$to/Cargo.lock.new"
    mv "$to/Cargo.lock.new" "$to/Cargo.lock"
  fi
done
