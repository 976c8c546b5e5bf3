//! `chatd completions SHELL`

use super::{Outcome, output};
use clap::Args;
use clap_complete::Shell;

/// Arguments of `chatd completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell to complete in
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the completions of a shell.
///
/// # Errors
/// When stdout cannot be written to.
pub fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "chatd", &mut script);
    output::data(&script)
}
