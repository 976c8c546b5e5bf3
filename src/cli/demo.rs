//! `chatd demo`: a throw-away daemon that runs one real turn.

use clap::Args;

/// Arguments of `chatd demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Leave the daemon running after the turn
    #[arg(long)]
    pub keep: bool,
}
