//! The place where tools act: a folder with files and a shell.
//!
//! Tools know only the trait [`Workspace`]. Today [`local::LocalFolder`] stands behind it, a folder
//! on the daemon's own machine, one per chat. The full workspace connection (an agent that dials
//! home, with background processes and MCP servers) replaces it behind the same interface.

pub mod connection;
pub mod dial;
pub mod elsewhere;
pub mod files;
pub mod group;
pub mod lines;
pub mod link;
pub mod local;
pub mod mcp_tools;
pub mod output;
pub mod paths;
pub mod provision;
pub mod remote;
pub mod skill;
pub mod status;
pub mod text;
pub mod token;
pub mod wire;

use crate::ids::ChatId;
use lines::{Lines, ReadRefusal, ReadRequest};
use output::Captured;
use std::time::Duration;

/// Why a workspace did not do what was asked. The text is for the model: it names the way out.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The path is relative.
    #[error("the path must be absolute: {0:?}")]
    NotAbsolute(String),
    /// The path, with its symbolic links followed, leaves the workspace.
    #[error("{path:?} lies outside of the workspace folder {root:?}")]
    Outside {
        /// As asked for.
        path: String,
        /// The folder everything has to lie in.
        root: String,
    },
    /// A chain of symbolic links does not end.
    #[error("{0:?} has too many levels of symbolic links")]
    LinkLoop(String),
    /// Nothing is there.
    #[error("{0:?} does not exist")]
    NotFound(String),
    /// The operating system refused.
    #[error("permission denied: {0:?}")]
    Permission(String),
    /// A directory, device or pipe where a file is needed.
    #[error("{0:?} is not a regular file")]
    NotAFile(String),
    /// A file where a directory is needed.
    #[error("{0:?} is not a directory")]
    NotADirectory(String),
    /// The read does not fit its limits.
    #[error(transparent)]
    Read(#[from] ReadRefusal),
    /// The command could not be started.
    #[error(
        "the command could not be started: {0}. It runs with `sh -c`, so a POSIX shell has to be on the PATH"
    )]
    Start(std::io::Error),
    /// Anything else.
    #[error("{what}: {cause}")]
    Io {
        /// What was done to which path.
        what: String,
        /// What the operating system said.
        cause: std::io::Error,
    },
}

/// A shell command to run to its end.
#[derive(Debug, Clone)]
pub struct RunCommand {
    /// The shell line, run with `sh -c`.
    pub command: String,
    /// Directory to run in; the workspace's own when absent.
    pub workdir: Option<String>,
    /// Variables to set.
    pub env: Vec<(String, String)>,
    /// When it is killed.
    pub timeout: Duration,
    /// The chat it runs for; the command sees it as `CHATD_CHAT_ID`.
    pub chat_id: ChatId,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Its time was over, and its process group was killed.
    TimedOut,
}

/// What a command did.
#[derive(Debug, Clone)]
pub struct CommandEnd {
    /// How it ended.
    pub exit: Exit,
    /// Combined standard output and error.
    pub output: Captured,
    /// How long it ran.
    pub wall: Duration,
}

/// Files and a shell.
#[async_trait::async_trait]
pub trait Workspace: Send + Sync + std::fmt::Debug {
    /// Reads numbered lines of a text file.
    ///
    /// # Errors
    /// See [`WorkspaceError`].
    async fn read_lines(&self, request: ReadRequest) -> Result<Lines, WorkspaceError>;

    /// Replaces a file, or makes it and its parent directories. Atomic; keeps the mode of a file
    /// that was there; follows a symbolic link to its target.
    ///
    /// # Errors
    /// See [`WorkspaceError`].
    async fn write_file(&self, path: &str, content: Vec<u8>) -> Result<(), WorkspaceError>;

    /// Runs a command to its end or its timeout. Dropping the future kills its process group.
    ///
    /// # Errors
    /// When it could not be started. A failing command is no error.
    async fn run_command(&self, command: RunCommand) -> Result<CommandEnd, WorkspaceError>;
}
