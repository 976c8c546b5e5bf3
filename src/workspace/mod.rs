//! The place where tools act: files and a shell, and the agent there that gives them to a chat.
//!
//! [`connection`] is the way of one chat to its agent and [`remote`] what can be asked there; [`wire`] is what both
//! ends speak. What the agent does with files and commands, it does with [`files`], [`lines`], [`group`] and [`output`].

pub mod body;
pub mod changes;
pub mod connection;
pub mod dial;
pub mod elsewhere;
pub mod files;
pub mod group;
pub mod in_vain;
pub mod lines;
pub mod link;
pub mod marked;
pub mod mcp_tools;
pub mod output;
pub mod parameters;
pub mod paths;
pub mod plan;
pub mod provision;
pub mod remote;
pub mod sanitize;
pub mod skill;
pub mod socket;
pub mod status;
pub mod text;
pub mod token;
pub mod wire;

use lines::ReadRefusal;

/// Why a workspace did not do what was asked. The text is for the model: it names the way out.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The path is relative.
    #[error("the path must be absolute: {0:?}")]
    NotAbsolute(String),
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
