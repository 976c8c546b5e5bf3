# What the scripts share that run the commands of README.md; they source it from the root of the clone.
# It starts a daemon with the scripted model, a free port and a home of its own, and ends it with the
# script. `model_script`, set before, names the script of the model; without it there is no configuration
# at all, as on a reader's machine. After it: `folder` (the home; `out` has what the daemon said), `port`, `fail`, `holds`.

program=$(realpath "${CHATD:-${CARGO_TARGET_DIR:-target}/debug/chatd}")
folder=$(mktemp -d)
options=()
if [ -n "${model_script:-}" ]; then
  options=(--config "$folder/chatd.toml")
  cat >"$folder/chatd.toml" <<TOML
[[providers]]
name = "scripted"
type = "scripted"
script = "$model_script"
[[models]]
name = "scripted"
provider = "scripted"
model = "scripted"
default = true
context_limit = 128000
TOML
fi
# There before it is read: the daemon opens it in its own time.
: >"$folder/out"
# Port 0: the kernel gives the daemon a free one.
env -i HOME="$folder" PATH="$PATH" CHATD__SERVER__LISTEN=127.0.0.1:0 "$program" serve "${options[@]}" >"$folder/out" 2>&1 &
daemon=$!
trap 'kill "$daemon" 2>/dev/null; wait "$daemon" 2>/dev/null || true; rm -rf "$folder"' EXIT

fail() {
  echo "$(basename "$0"): $1" >&2
  cat "$folder/out" "$folder/said" >&2 2>/dev/null || true
  exit 1
}

port=
for _ in $(seq 200); do
  port=$(sed -nE 's#.*listening on http://127\.0\.0\.1:([0-9]+).*#\1#p' "$folder/out" | head -1)
  [ -z "$port" ] && kill -0 "$daemon" 2>/dev/null || break
  sleep 0.1
done
[ -n "$port" ] || fail "the daemon did not say where it listens"

# The block after "In another terminal". It ends in the history of the chat.
quickstart=$(awk '/In another terminal:/ { found = 1 } found && /^```$/ { exit } open; found && /^```sh$/ { open = 1 }' README.md)
[ "$(grep -c . <<<"$quickstart")" -ge 10 ] || fail "README.md has no commands after \"In another terminal:\""

holds() {
  grep -aq -- "$2" "$folder/$1" || fail "${3:-README.md} did not show $2"
}
