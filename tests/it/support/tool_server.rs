//! Tool servers of a workspace, as small shell scripts that speak JSON-RPC.

use std::{fs, path::Path};

/// Writes `NAME.sh`: a server that lists `tools`, and answers calls by the case given. Each start adds a line to `NAME.log`.
pub fn write(folder: impl AsRef<Path>, name: &str, tools: &str, calls: &str) {
    let text = format!(
        r#"echo started >> {name}.log
say() {{ printf '{{"jsonrpc":"2.0","id":%s,"result":%s}}\n' "$id" "$1"; }}
while read -r line; do
  id=$(printf %s "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case "$line" in
    *'"method":"initialize"'*) say '{{"protocolVersion":"2025-06-18","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"t","version":"1"}}}}';;
    *'"method":"tools/list"'*) say '{{"tools":[{tools}]}}';;
    *'"method":"tools/call"'*) {calls};;
    *'"method":"ping"'*) say '{{}}';;
  esac
done
"#
    );
    fs::write(folder.as_ref().join(format!("{name}.sh")), text).expect("write the server");
}
