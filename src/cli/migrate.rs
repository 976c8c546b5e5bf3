//! `chatd migrate`: the database's tables.

use super::{Options, Outcome, daemon, output};
use crate::app::open;
use clap::Args;
use std::fmt::Write;

/// Arguments of `chatd migrate`.
#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    /// Show which migrations are applied, and apply none
    #[arg(long)]
    pub status: bool,
}

/// Applies or shows the migrations.
///
/// # Errors
/// When the database cannot be had or is newer than this program.
pub fn run(args: &MigrateArgs, options: &Options) -> Outcome {
    let loaded = options.load()?;
    let status = daemon::runtime()?.block_on(open::migrations(&loaded.config, !args.status))?;
    let mut text = String::new();
    for version in &status.applied {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{version} applied");
    }
    for version in &status.pending {
        let _ = writeln!(text, "{version} pending");
    }
    output::data(text.as_bytes())
}
