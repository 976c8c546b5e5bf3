//! The program as a person or a container meets it: exit codes, stdout and stderr.

mod config;
mod program;

use std::{
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

/// A folder to run the program in, with a home of its own and nothing else in the environment.
struct Shell(TempDir);

impl Shell {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }
    fn dir(&self) -> &Path {
        self.0.path()
    }
    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.dir().join(name), text).expect("a file in a folder of ours");
        self
    }
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatd"));
        command.args(args).current_dir(self.dir()).env_clear().env("HOME", self.dir());
        command
    }
    fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().expect("the program starts"))
    }
}

/// What a run left behind.
#[derive(Debug)]
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        // No status means that a signal ended it, which no command here may do.
        Self {
            status: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}
