#!/usr/bin/env bash
# Runs every command of README.md's section "Operations" as it stands there, one after the other in one
# shell, after the beginning of the quick start: an operator's session. `CHATD=path/to/chatd` names the program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The model of the quick start knows nothing of titles.
model_script=$PWD/scripts/fuzz/script.json
source scripts/readme.lib.sh

# Up to where a reader would watch: the address, the token, the first chat.
beginning=$(sed '/^# Watch it/,$d' <<<"$quickstart")
session=$(awk '/^## / { section = ($0 == "## Operations") } /^```$/ { open = 0 } open; section && /^```sh$/ { open = 1 }' README.md)
[ "$(grep -c '^api \|(api ' <<<"$session")" -ge 20 ] || fail "README.md has no session in \"Operations\""

# A reader sees a refusal; here it ends the session. Who types sees the stream before suspending its owner.
helpers='
chatd() { "$PROGRAM" "$@"; }
curl() {
  case "$*" in
    *text/event-stream*) command curl --max-time 60 --fail-with-body "$@" | tee "$HOME/streamed" ;;
    *status/suspend)
      for _ in $(seq 600); do
        grep -q "\"type\":\"status\"" "$HOME/streamed" 2>/dev/null && break
        sleep 0.05
      done
      command curl --fail-with-body "$@" ;;
    *) command curl --fail-with-body "$@" ;;
  esac
}
'
(
  export HOME="$folder" PROGRAM="$program"
  script="$helpers$beginning
$session"
  # The commands beside what they say, and not among it, where a secret that was typed would seem told.
  exec 9>"$folder/typed"
  BASH_XTRACEFD=9 bash -xeuo pipefail -c "${script//7777/$port}"
) >"$folder/said" 2>&1 || fail "a command of \"Operations\" failed: $(tail -1 "$folder/typed")"

holds streamed '"text":"Work for me."'
holds streamed '"code":1008'
holds said 'in use'
holds said '"username":"ann"'
holds said 'chatd: entered'
holds said '"spend_limit_micros":200000000'
# What was a secret is never shown again, and the daemon met the rotated key.
for secret in sk-ant-first sk-ant-second sk-ant-mine; do
  if grep -aq -- "$secret" "$folder/said"; then fail "an answer shows $secret"; fi
  if grep -aq -- "$secret" "$folder/out"; then fail "the log shows $secret"; fi
done
if grep -a -E ' ERROR |panicked' "$folder/out" >&2; then fail "errors in the log"; fi
echo "operations.sh: the commands of README.md work"
