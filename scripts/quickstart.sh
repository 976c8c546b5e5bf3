#!/usr/bin/env bash
# Runs the commands of README.md's quick start as they stand there, with the scripted model in the place of
# a real one, a free port and a home of their own. `CHATD=path/to/chatd` names the program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program=$(realpath "${CHATD:-${CARGO_TARGET_DIR:-target}/debug/chatd}")
folder=$(mktemp -d)
# Port 0: the kernel gives the daemon a free one.
env -i HOME="$folder" PATH="$PATH" CHATD__SERVER__LISTEN=127.0.0.1:0 "$program" serve >"$folder/out" 2>&1 &
daemon=$!
trap 'kill "$daemon" 2>/dev/null; wait "$daemon" 2>/dev/null || true; rm -rf "$folder"' EXIT

fail() {
  echo "quickstart.sh: $1" >&2
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
block=$(awk '/In another terminal:/ { found = 1 } found && /^```$/ { exit } open; found && /^```sh$/ { open = 1 }' README.md)
[ "$(grep -c . <<<"$block")" -ge 10 ] || fail "README.md has no commands after \"In another terminal:\""

# What a reader would stop with Ctrl-C; without the program curl makes the same handshake.
helpers='
websocat() {
  local url=$1 header=$3
  if type -P websocat >/dev/null; then
    # An open standard input, as a terminal has it: at the end of it websocat leaves.
    sleep 3 | timeout 3 websocat "$url" -H "$header" || true
  else
    curl -sSN --http1.1 --max-time 3 -H "$header" -H "Connection: Upgrade" -H "Upgrade: websocket" \
      -H "Sec-WebSocket-Version: 13" -H "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==" "http${url#ws}" 2>/dev/null || true
  fi | tr -d "\000" | tee "$HOME/streamed"
}
'
(
  export HOME="$folder"
  bash -euo pipefail -c "$helpers${block//7777/$port}"
) >"$folder/said" 2>&1 || fail "a command of the quick start failed"

holds() {
  grep -aq -- "$2" "$folder/$1" || fail "the quick start did not show $2"
}
holds streamed '"type":"message"'
holds streamed '"text":"What can you do?"'
holds streamed '"type":"status"'
holds said '"text": "Go on."'
echo "quickstart.sh: the commands of README.md work"
