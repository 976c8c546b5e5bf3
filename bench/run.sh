#!/usr/bin/env bash
# The benchmark: builds chatd and the benchmark for release, runs all of it against SQLite and, where
# its server is installed, PostgreSQL, prints a table and writes it to bench/results/latest.md.
# Arguments go to `chatd-bench all` (--rounds 1 for a quick look).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Outside of the clone, as in scripts/test.sh.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${CHATD_TARGET_DIR:-$HOME/.cache/chatd/target}}"
cargo build --locked --release -p chatd -p chatd-bench --bins
bin="$CARGO_TARGET_DIR/release"

# A thousand chats have a socket each at both ends.
ulimit -n "$(ulimit -Hn)"

pg_dir=
pg_bin=
for candidate in /usr/lib/postgresql/*/bin /usr/local/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin; do
  [ -x "$candidate/initdb" ] && [ -x "$candidate/postgres" ] && pg_bin=$candidate
done

# The server refuses to run as root; the package made it an account.
as_server() {
  if [ "$(id -u)" -eq 0 ]; then
    (cd / && setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@")
  else
    (cd / && "$@")
  fi
}

stop() {
  if [ -n "$pg_dir" ]; then
    as_server "$pg_bin/pg_ctl" -D "$pg_dir/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$pg_dir"
  fi
}
trap stop EXIT

arguments=()
if [ -n "$pg_bin" ]; then
  # On the disk that SQLite is measured on, durable as an operator would have it.
  pg_dir=$(mktemp -d /var/tmp/chatd-bench-pg-XXXXXX)
  if [ "$(id -u)" -eq 0 ]; then chown postgres:postgres "$pg_dir"; fi
  as_server "$pg_bin/initdb" -D "$pg_dir/data" -U chatd -A trust --locale=C --encoding=UTF8 >"$pg_dir.log"
  mv "$pg_dir.log" "$pg_dir/initdb.log"
  # Root would otherwise be locked out of a socket in a 0700 folder of someone else; the folder is 0700
  # and the server listens on nothing else, so that trust is only in whom may enter it.
  as_server "$pg_bin/pg_ctl" -D "$pg_dir/data" -w -l "$pg_dir/log" -o "-c listen_addresses= \
    -c unix_socket_directories=$pg_dir -c max_connections=100 -c shared_buffers=128MB" start >/dev/null
  for database in chatd takeover floor; do
    as_server "$pg_bin/createdb" -h "$pg_dir" -U chatd "$database"
  done
  arguments+=(--postgres "$pg_dir")
else
  echo "bench: no PostgreSQL server is installed; only SQLite is measured" >&2
fi

"$bin/chatd-bench" all --chatd "$bin/chatd" "${arguments[@]}" --out bench/results/latest.md "$@"
