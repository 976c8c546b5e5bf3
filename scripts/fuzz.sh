#!/usr/bin/env bash
# Fuzzes the API by its own document: no 5xx, no undocumented status or content type, no answer off its schema,
# and no error in the log; and 405 with `Allow` for methods that a path does not have. On SQLite and, where its server
# is installed, on PostgreSQL. `CHATD=path/to/chatd` names the program, `FUZZ_EXAMPLES` how many requests an operation
# gets (CI has few; 300 is a long look), `FUZZ_SECONDS` how long an engine may take: more is a failure as well.
#
# The fuzzer comes from PyPI, once. Where it cannot be had this is a failure in CI, and elsewhere said and left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root=$PWD
program=$(realpath "${CHATD:-${CARGO_TARGET_DIR:-target}/debug/chatd}")
examples=${FUZZ_EXAMPLES:-15}
# A minute on two idle cores where there are few examples, so this is only for what hangs; a long look takes its time.
seconds=${FUZZ_SECONDS:-$((examples <= 15 ? 300 : examples * 40))}
version=4.32.5
venv="${CHATD_FUZZ_VENV:-$HOME/.cache/chatd/schemathesis-$version}"

# The fuzzer cannot be had.
without() {
  if [ -n "${CI:-}" ]; then
    echo "fuzz.sh: FAILED: $1; nothing was fuzzed, and in CI that is a failure" >&2
    exit 1
  fi
  echo "fuzz.sh: SKIPPED: $1; the API was NOT fuzzed" >&2
  exit 0
}

if [ ! -e "$venv/complete" ]; then
  if ! python3 -m venv --help >/dev/null 2>&1 || ! python3 -c 'import ensurepip' 2>/dev/null; then
    command -v apt-get >/dev/null || without "python3 with venv is needed"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
      command -v sudo >/dev/null || without "python3 with venv is needed (as root: apt-get install python3-venv)"
      as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -q &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3 python3-venv ||
      without "python3 with venv could not be installed"
  fi
  # Not moved into its place, as a venv knows its path: the marker is written last.
  rm -rf "$venv"
  python3 -m venv "$venv" || without "python3 cannot make a venv"
  "$venv/bin/pip" install -q --disable-pip-version-check "schemathesis==$version" ||
    without "schemathesis $version could not be installed from PyPI"
  touch "$venv/complete"
fi

folder=$(mktemp -d)
# The account of the PostgreSQL server has to reach its folder below.
chmod 755 "$folder"
daemon=
pg_bin=
for bin in /usr/lib/postgresql/*/bin /usr/local/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin ${PATH//:/ }; do
  # The first with all of them: a folder on the PATH may have links to some.
  if [ -z "$pg_bin" ] && [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] && [ -x "$bin/pg_ctl" ] && [ -x "$bin/createdb" ]; then pg_bin=$bin; fi
done

# The server refuses to run as root; the package made it an account.
as_server() {
  if [ "$(id -u)" -eq 0 ]; then
    (cd / && setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@")
  else
    (cd / && "$@")
  fi
}

# Agents of local workspaces outlive the daemon; a file with its process id stands for each.
end_agents() {
  local file
  for file in "$folder"/*/data/agents/*; do
    case $file in *.log | *'*') continue ;; esac
    kill "$(cut -d' ' -f1 "$file")" 2>/dev/null || true
  done
}

stop() {
  if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null || true; wait "$daemon" 2>/dev/null || true; fi
  if [ -d "$folder/pg/data" ]; then as_server "$pg_bin/pg_ctl" -D "$folder/pg/data" -m immediate stop >/dev/null 2>&1 || true; fi
  end_agents
  rm -rf "$folder"
}
trap stop EXIT

fuzz() {
  local engine=$1 url=$2 home="$folder/$1" port=
  mkdir "$home"
  cat >"$home/chatd.toml" <<TOML
data_dir = "$home/data"
[server]
listen = "127.0.0.1:0"
[database]
url = "$url"
[limits]
requests_per_minute = 0
logins_per_minute = 0
files_per_minute = 0
[[providers]]
name = "scripted"
type = "scripted"
script = "$root/scripts/fuzz/script.json"
[[models]]
name = "scripted"
provider = "scripted"
model = "scripted-1"
default = true
context_limit = 128000
TOML
  # There before it is read: the daemon opens it in its own time.
  : >"$home/log"
  env -i HOME="$home" PATH="$PATH" "$program" serve --config "$home/chatd.toml" >"$home/log" 2>&1 &
  daemon=$!
  for _ in $(seq 300); do
    port=$(sed -nE 's#.*listening on http://127\.0\.0\.1:([0-9]+).*#\1#p' "$home/log" | head -1)
    [ -z "$port" ] && kill -0 "$daemon" 2>/dev/null || break
    sleep 0.1
  done
  [ -n "$port" ] || { echo "fuzz.sh: the daemon did not start" >&2; cat "$home/log" >&2; exit 1; }
  local base="http://127.0.0.1:$port" token
  token=$(cat "$home/data/token")
  CHATD_FUZZ_IDS=$(python3 scripts/fuzz/seed.py "$base" "$token")
  export CHATD_FUZZ_IDS
  # A seed that is always the same: what is found is found again. Signing out would end the session of the fuzzer.
  if ! (cd "$home" && SCHEMATHESIS_HOOKS=hooks PYTHONPATH="$root/scripts/fuzz" timeout -k 10 "$seconds" "$venv/bin/schemathesis" run "$base/openapi.json" \
    --header "Coder-Session-Token: $token" --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method \
    --phases examples,coverage,fuzzing --max-examples "$examples" --seed 1 --continue-on-failure --generation-database none \
    --request-timeout 30 --exclude-path /api/v2/users/logout --suppress-health-check all) >"$home/fuzz" 2>&1; then
    cat "$home/fuzz" >&2
    echo "fuzz.sh: FAILED on $engine, for what is said above or for taking more than $seconds s" >&2
    exit 1
  fi
  kill -0 "$daemon" || { echo "fuzz.sh: the daemon ended" >&2; cat "$home/log" >&2; exit 1; }
  if grep -a -E ' ERROR |panicked' "$home/log" >&2; then
    echo "fuzz.sh: errors in the log on $engine" >&2
    exit 1
  fi
  echo "fuzz.sh: $engine: $(grep -a 'Test cases' -A1 "$home/fuzz" | tail -1 | xargs), nothing found"
  kill "$daemon"; wait "$daemon" 2>/dev/null || true
  daemon=
}

fuzz sqlite sqlite:chatd.db
if [ -n "$pg_bin" ]; then
  mkdir "$folder/pg"
  if [ "$(id -u)" -eq 0 ]; then chown postgres:postgres "$folder/pg"; fi
  as_server "$pg_bin/initdb" -D "$folder/pg/data" -U chatd -A trust --locale=C --encoding=UTF8 >/dev/null
  pg_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  as_server "$pg_bin/pg_ctl" -D "$folder/pg/data" -w -l "$folder/pg/log" -o "-c listen_addresses=127.0.0.1 -p $pg_port \
    -c unix_socket_directories= -c fsync=off" start >/dev/null
  as_server "$pg_bin/createdb" -h 127.0.0.1 -p "$pg_port" -U chatd chatd
  fuzz postgres "postgres://chatd@127.0.0.1:$pg_port/chatd"
else
  echo "fuzz.sh: no PostgreSQL server is installed; only SQLite was fuzzed" >&2
fi
