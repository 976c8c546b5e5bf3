//! The files that name tool servers, as `.mcp.json`.

use crate::workspace::{WorkspaceError, files};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
};

/// Between the name of a server and that of its tool.
pub const SEPARATOR: &str = "__";
/// Most servers.
pub const MAX_SERVERS: usize = 32;
/// Largest file in bytes.
const MAX_FILE: u64 = 256 << 10;

/// How a server is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Its name.
    pub name: String,
    /// Program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables beside those of the agent.
    pub env: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "mcpServers", default)]
    servers: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    command: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    url: String,
}

/// Reads a file: its servers, and what is wrong with the others.
///
/// # Errors
/// When the file cannot be read.
pub fn read(
    path: &Path,
    variables: &BTreeMap<OsString, OsString>,
) -> Result<(Vec<ServerConfig>, Vec<String>), WorkspaceError> {
    let bytes = files::read(path, &path.to_string_lossy(), MAX_FILE)?;
    let lookup =
        |name: &str| variables.get(OsStr::new(name)).and_then(|value| value.to_str()).map(str::to_owned);
    Ok(parse(&bytes, lookup))
}

fn parse(bytes: &[u8], lookup: impl Fn(&str) -> Option<String>) -> (Vec<ServerConfig>, Vec<String>) {
    let file: File = match serde_json::from_slice(bytes) {
        Ok(file) => file,
        Err(error) => return (Vec::new(), vec![format!("it is not the JSON that is needed: {error}")]),
    };
    let (mut servers, mut problems) = (Vec::new(), Vec::new());
    for (name, entry) in file.servers {
        match server(&name, entry, &lookup) {
            Ok(server) => servers.push(server),
            Err(problem) => problems.push(format!("server {name:?}: {problem}")),
        }
    }
    (servers, problems)
}

fn server(
    name: &str,
    entry: serde_json::Value,
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<ServerConfig, String> {
    if name.is_empty() || super::content::safe(name).contains(SEPARATOR) {
        return Err(format!("its name must not be empty and must not contain {SEPARATOR}"));
    }
    let entry: Entry = serde_json::from_value(entry).map_err(|e| e.to_string())?;
    match entry.kind.as_deref() {
        None | Some("stdio") if !entry.command.trim().is_empty() => {}
        None if !entry.url.is_empty() => return Err(by_url()),
        Some("http" | "sse" | "streamable_http" | "streamable-http") => return Err(by_url()),
        None | Some("stdio") => return Err("it needs a command".to_owned()),
        Some(other) => return Err(format!("its type {other:?} is unknown; it is stdio")),
    }
    Ok(ServerConfig {
        name: name.to_owned(),
        command: expand(&entry.command, lookup),
        args: entry.args.iter().map(|arg| expand(arg, lookup)).collect(),
        env: entry.env.into_iter().map(|(name, value)| (name, expand(&value, lookup))).collect(),
    })
}

fn by_url() -> String {
    "servers with a url are left out; give a command that speaks to it, such as npx -y mcp-remote URL"
        .to_owned()
}

/// Replaces `${NAME}`, and `${NAME:-default}` when it is not set or empty. What is not set is empty.
fn expand(text: &str, lookup: &impl Fn(&str) -> Option<String>) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("${") {
        let Some(end) = rest[at..].find('}') else { break };
        let (name, default) = match rest[at + 2..at + end].split_once(":-") {
            Some((name, default)) => (name, default),
            None => (&rest[at + 2..at + end], ""),
        };
        out.push_str(&rest[..at]);
        out.push_str(&lookup(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned()));
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "A").then(|| "${B}".to_owned())
    }

    #[test]
    fn servers_are_read_and_the_others_explained() {
        let text = r#"{"mcpServers": {
            "a": {"command": "x", "args": ["${A}", "$A"], "env": {"K": "1${A}2"}},
            "b": {"type": "stdio", "command": "y", "more": 1},
            "c__d": {"command": "x"}, "e": {"url": "http://h"}, "f": {"type": "sse", "url": "u"},
            "g": {"command": " "}, "h": {"type": "pigeon"}, "i": 1, "": {"command": "x"}
        }}"#;
        let (servers, problems) = parse(text.as_bytes(), lookup);
        assert_eq!(servers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(servers[0].args, ["${B}", "$A"]);
        assert_eq!(servers[0].env["K"], "1${B}2");
        assert_eq!(problems.len(), 7, "{problems:?}");
        assert_eq!(parse(b"[", lookup).1.len(), 1);
        assert_eq!(parse(b"{}", lookup), (vec![], vec![]));
    }

    #[test]
    fn variables_are_expanded_once() {
        for (text, out) in [
            ("a${A}b${A}", "a${B}b${B}"),
            ("${N}x", "x"),
            ("${N:-d}${A:-d}${N:-}", "d${B}"),
            ("${A", "${A"),
            ("$A {A}", "$A {A}"),
        ] {
            assert_eq!(expand(text, &lookup), out, "{text}");
        }
    }
}
