#!/usr/bin/env bash
# Everything that has to hold before a change is merged. Run it from anywhere; it needs no arguments.
# Arguments are passed on to `cargo test` (a filter, for instance).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Outside of the clone, so that a fresh clone builds on what an earlier one compiled.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${CHATD_TARGET_DIR:-$HOME/.cache/chatd/target}}"
if [ -n "${CI:-}" ]; then
  # Nothing is compiled twice there, and an incremental build of the async closures in the store once
  # crashed the compiler.
  export CARGO_INCREMENTAL=0
fi

# Most tests wait for other processes: with one a core, half of the time nobody works.
if [ -z "${RUST_TEST_THREADS:-}" ] && command -v nproc >/dev/null; then
  export RUST_TEST_THREADS=$((2 * $(nproc)))
fi

# The oldest PostgreSQL that the product supports; tests/it/support/postgres.rs looks in the same places.
oldest=15

have_postgres() {
  [ -z "${CHATD_TEST_PG:-}" ] || return 0 # a server that somebody else runs
  local bin version
  for bin in /usr/lib/postgresql/*/bin /usr/local/lib/postgresql/*/bin /opt/homebrew/opt/*/bin ${PATH//:/ }; do
    [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] || continue
    version=$("$bin/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*$/\1/')
    [ "$version" -lt "$oldest" ] || return 0
  done
  return 1
}

install_postgres() {
  local why="the tests need the programs of a PostgreSQL server >= $oldest (initdb, postgres)"
  command -v apt-get >/dev/null || { echo "test.sh: $why; install them with your package manager" >&2; exit 1; }
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "test.sh: $why; as root: apt-get install postgresql" >&2; exit 1; }
    as_root=(sudo)
  fi
  echo "test.sh: $why; installing them" >&2
  # Without this the package would also create and start a cluster of its own, which nobody uses. It
  # is a setting of a freshly installed package only: an existing one is the owner's.
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    "${as_root[@]}" mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
    -o Dpkg::Options::=--force-confold postgresql
  have_postgres || { echo "test.sh: apt installed a PostgreSQL older than $oldest; $why" >&2; exit 1; }
}

have_postgres || install_postgres

set -x
cargo fmt --check
cargo clippy --locked --all-targets -- -D warnings
cargo test --locked "$@"
if command -v curl >/dev/null && command -v jq >/dev/null; then
  ./scripts/quickstart.sh
  ./scripts/operations.sh
fi
# A short look; FUZZ_EXAMPLES=300 ./scripts/fuzz.sh is a long one.
FUZZ_EXAMPLES="${FUZZ_EXAMPLES:-6}" ./scripts/fuzz.sh
if command -v cargo-deny >/dev/null; then
  cargo deny check licenses
fi
