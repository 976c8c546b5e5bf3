//! How a command ends: its exit status, and the one sentence that goes with a failure.

use std::{fmt, process::ExitCode};

/// Exit status of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It did not work.
    Failed = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// The database or the port is not to be had (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// Bad configuration, or a database newer than the program (`EX_CONFIG`).
    Config = 78,
    /// Ended by SIGINT.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed: one sentence that says what to do next. Goes to stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The status to exit with.
    pub exit: Exit,
    /// Without the program's name and without a dot at its end.
    pub message: String,
}

impl Failure {
    /// A failure with this status.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// It did not work, status 1.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::new(Exit::Config, error.to_string())
    }
}

/// What every command returns.
pub type Outcome = Result<Exit, Failure>;
