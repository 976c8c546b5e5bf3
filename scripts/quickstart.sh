#!/usr/bin/env bash
# Runs the commands of README.md's quick start as they stand there, with the scripted model in the place of
# a real one, a free port and a home of their own. `CHATD=path/to/chatd` names the program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/readme.lib.sh

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
  bash -euo pipefail -c "$helpers${quickstart//7777/$port}"
) >"$folder/said" 2>&1 || fail "a command of the quick start failed"

holds streamed '"type":"message"'
holds streamed '"text":"What can you do?"'
holds streamed '"type":"status"'
holds said '"text": "Go on."'
echo "quickstart.sh: the commands of README.md work"
