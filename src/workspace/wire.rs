//! What the daemon and a workspace's agent say to each other (tools.md §15): paths, headers and bodies of
//! the HTTP that the daemon, as the client, speaks over the link which the agent has opened.

use super::output::Truncated;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where an agent opens its link: a WebSocket whose binary messages are the bytes of an HTTP/2
/// connection, with the agent as the server. The agent's token is the bearer; the query is [`LinkQuery`].
pub const LINK_PATH: &str = "/api/v2/workspaceagents/me/link";
/// First part of every path below.
pub const BASE: &str = "/api/v0/";

/// The chat a request is made for.
pub const CHAT_ID: &str = "x-chatd-chat-id";
/// JSON array with the id of the chat's parent, or the text `null`.
pub const ANCESTOR_CHAT_IDS: &str = "x-chatd-ancestor-chat-ids";
/// Names that this program's ancestor had for the two.
pub const FORMER_CHAT_ID: &str = "coder-chat-id";
/// See [`FORMER_CHAT_ID`].
pub const FORMER_ANCESTOR_CHAT_IDS: &str = "coder-ancestor-chat-ids";
/// Names the tool call that a request with an effect is made for. The agent carries a request out once
/// for each chat and value, and answers every repetition with the first outcome. So it has to be unique
/// in its chat for ever, which the ids that providers choose are not: put the id of the message before.
pub const TOOL_CALL_ID: &str = "x-chatd-tool-call-id";

/// `true` for a request that was sent before, by a daemon that did not live to tell what came of it: the agent
/// answers with the outcome that it has, and with 410 when it knows of none; it never begins.
pub const REPEATED: &str = "x-chatd-repeated";

/// On every answer of an agent: another number whenever what its tool servers offer may have changed.
pub const TOOLS_VERSION: &str = "x-chatd-tools-version";

/// `true` for every command that is run for a chat.
pub const ENV_CHAT_AGENT: &str = "CHATD_CHAT_AGENT";
/// The chat a command is run for.
pub const ENV_CHAT_ID: &str = "CHATD_CHAT_ID";
/// Where `chatd agent` finds its token, when it is not on the command line.
pub const ENV_TOKEN: &str = "CHATD_AGENT_TOKEN";
/// Variable that names a file with the address of the daemon, which may be another after a restart: agents on the daemon's
/// own host read it before they dial.
pub const ENV_URL_FILE: &str = "CHATD_AGENT_URL_FILE";
/// Where `chatd agent` finds the daemon's address, when it is not on the command line.
pub const ENV_URL: &str = "CHATD_URL";

/// Largest body of a request in bytes; more is answered with 413.
pub const MAX_BODY: usize = 32 << 20;

/// What an agent tells about itself when it opens its link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkQuery {
    /// Name given on its command line; may be empty.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Operating system, as in `linux`.
    pub os: String,
    /// Processor architecture, as in `x86_64`.
    pub arch: String,
    /// Absolute path of its working directory.
    pub directory: String,
}

/// Body of every answer that is no success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong, and what to do about it.
    pub message: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Fields that are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validations: Vec<Validation>,
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// Its name.
    pub field: String,
    /// Why.
    pub detail: String,
}

/// Answer of `GET read-file-lines`: either the lines or an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadLines {
    /// Whether it could be read.
    pub success: bool,
    /// Bytes of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
    /// Lines of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_lines: Option<usize>,
    /// Lines in `content`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines_read: Option<usize>,
    /// Each line as `<number>\t<line>`, joined by newlines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a listed path is relative to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relativity {
    /// `/`
    #[default]
    Root,
    /// The home directory of the agent's user.
    Home,
}

/// Body of `POST list-directory`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListDirectory {
    /// Components of the path.
    pub path: Vec<String>,
    /// Where it begins.
    pub relativity: Relativity,
}

/// Answer of `POST list-directory`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Components of its absolute path.
    pub absolute_path: Vec<String>,
    /// Its absolute path.
    pub absolute_path_string: String,
    /// What is in it, by name.
    pub contents: Vec<DirectoryEntry>,
    /// Whether there is more than fits.
    #[serde(default)]
    pub truncated: bool,
}

/// A file or directory in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// Its name.
    pub name: String,
    /// Its absolute path.
    pub absolute_path_string: String,
    /// Whether it is a directory, or a link to one.
    pub is_dir: bool,
}

/// Answer of `GET resolve-path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedPath {
    /// The path with its links followed.
    pub resolved_path: String,
}

/// Body of `POST edit-files`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditFiles {
    /// Files to edit, each once.
    #[serde(default)]
    pub files: Vec<FileEdits>,
}

/// Edits of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEdits {
    /// Absolute path.
    pub path: String,
    /// Where the path has to lead, as `resolve-path` told; the edit is refused with 409 when it leads
    /// elsewhere by now. (`write-file` has a parameter of this name.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    /// In the order in which they are applied.
    #[serde(default)]
    pub edits: Vec<Edit>,
}

/// One replacement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// What is looked for; not empty.
    pub search: String,
    /// What takes its place.
    pub replace: String,
    /// Every place instead of the only one.
    #[serde(default)]
    pub replace_all: bool,
}

/// An answer that says no more than that it worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done.
    pub message: String,
}

/// Body of `POST processes/start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartProcess {
    /// Shell line, run with `sh -c`.
    pub command: String,
    /// Directory; empty: the agent's, else home.
    pub workdir: String,
    /// Variables to set.
    pub env: BTreeMap<String, String>,
    /// Whether it was meant to go on in the background. Only shown again.
    pub background: bool,
}

/// Answer of `POST processes/start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Id of the process with this agent.
    pub id: String,
    /// Always true.
    pub started: bool,
}

/// Answer of `GET processes/list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// Those of the chat; running ones first, then the latest first.
    pub processes: Vec<ProcessInfo>,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its id.
    pub id: String,
    /// Shell line.
    pub command: String,
    /// Directory it was started in.
    pub workdir: String,
    /// As asked for.
    pub background: bool,
    /// Whether it still runs.
    pub running: bool,
    /// Set once it has ended; 128 and the number of the signal when one ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Seconds since 1970.
    pub started_at_unix: i64,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exited_at_unix: Option<i64>,
}

/// Answer of `GET processes/{id}/output`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessOutput {
    /// Standard output and error together, at most 32 KiB.
    pub output: String,
    /// Set when something was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<Truncated>,
    /// Whether it still runs.
    pub running: bool,
    /// Set once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How long it has run, or ran; older agents do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_duration_ms: Option<u64>,
}

/// Body of `POST processes/{id}/signal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalProcess {
    /// `terminate` (SIGTERM) or `kill` (SIGKILL).
    pub signal: String,
}

/// Answer of `GET context-config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextConfig {
    /// Context files and skills.
    pub parts: Vec<ContextPart>,
}

/// What an agent knows about its project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ContextPart {
    /// A file of instructions.
    ContextFile {
        /// Absolute path.
        context_file_path: String,
        /// Its sanitised text.
        context_file_content: String,
        /// Whether it was cut at 64 KiB.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        context_file_truncated: bool,
    },
    /// A skill, without its body.
    Skill {
        /// Its name, which is that of its directory.
        skill_name: String,
        /// What it is good for.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        skill_description: String,
        /// Absolute path of its directory.
        skill_dir: String,
        /// Name of the file in it that describes it.
        context_file_skill_meta_file: String,
    },
}

/// Answer of `GET mcp/tools`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct McpTools {
    /// By name.
    pub tools: Vec<McpTool>,
    /// A server did not answer, so that its tools are missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

/// A tool of a workspace's tool server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct McpTool {
    /// The server's name.
    pub server_name: String,
    /// `<server>__<tool>`
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// Properties of its arguments, a JSON schema each.
    #[serde(default)]
    pub schema: serde_json::Map<String, serde_json::Value>,
    /// Names of arguments that must be given.
    #[serde(default)]
    pub required: Vec<String>,
}

/// Body of `POST mcp/call-tool`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallMcpTool {
    /// Name as listed.
    pub tool_name: String,
    /// Its arguments.
    pub arguments: serde_json::Map<String, serde_json::Value>,
}

/// Answer of `POST mcp/call-tool`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpResult {
    /// What the tool said.
    pub content: Vec<McpContent>,
    /// Whether the tool says that it failed.
    pub is_error: bool,
}

/// A piece of a tool's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpContent {
    /// `text`, `image` or `resource`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Of `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

/// Answer of `GET git/changes`: what is not committed, by repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitChanges {
    /// When it was looked at.
    pub scanned_at: crate::clock::Timestamp,
    /// By path.
    pub repositories: Vec<GitRepository>,
}

/// A repository and what is not committed in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitRepository {
    /// Absolute path of its working tree.
    pub repo_root: String,
    /// The branch; none when detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Address of the remote `origin`, without user and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_origin: Option<String>,
    /// Files that are not as in the last commit, new ones among them.
    #[serde(default)]
    pub changed_files: i64,
    /// Lines that were added to them.
    #[serde(default)]
    pub additions: i64,
    /// Lines that were removed from them.
    #[serde(default)]
    pub deletions: i64,
    /// The changes; empty where nobody has asked for them.
    #[serde(default)]
    pub unified_diff: String,
    /// Whether the diff was cut at 1 MiB.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Why there is no diff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
