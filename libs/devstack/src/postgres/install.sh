# Installs Postgres by the package manager, where that needs no password. $1 is the oldest usable
# major version. The last line of standard error says why nothing was installed.
set -eu

fail() {
  echo "$1" >&2
  exit 1
}

# The major version that apt would install.
candidate() {
  LC_ALL=C apt-cache policy postgresql | sed -n 's/^ *Candidate: \([0-9][0-9]*\).*/\1/p'
}

by_apt() {
  if [ "$(id -u)" = 0 ]; then
    root=
  else
    sudo -n true 2>/dev/null || fail "apt-get needs root, or sudo without a password"
    root="sudo -n"
  fi
  if [ -z "$(candidate)" ]; then $root apt-get update; fi
  major=$(candidate)
  [ -n "$major" ] || fail "apt-get offers no package postgresql"
  [ "$major" -ge "$1" ] || fail "apt-get offers Postgres $major, which is too old"
  # The package lists may be older than the mirror.
  install || { $root apt-get update && install; } || fail "apt-get failed, see above"
}

# Debian's package starts a server when it is installed, unless a file forbids it. The file is
# removed afterwards, to leave the machine's defaults alone.
install() {
  $root env DEBIAN_FRONTEND=noninteractive sh -ec '
    apt-get install -y --no-install-recommends postgresql-common
    conf=/etc/postgresql-common/createcluster.d/quartet.conf
    mkdir -p "${conf%/*}"
    trap "rm -f $conf; rmdir ${conf%/*} 2>/dev/null || true" EXIT
    echo "create_main_cluster = false" > "$conf"
    apt-get install -y --no-install-recommends postgresql'
}

if command -v apt-get >/dev/null; then
  by_apt "$1"
elif command -v brew >/dev/null; then
  HOMEBREW_NO_AUTO_UPDATE=1 brew install postgresql@17
else
  fail "there is neither apt-get nor brew"
fi
