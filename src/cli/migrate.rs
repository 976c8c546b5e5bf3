//! `chatd migrate`: the database's tables.

use clap::Args;

/// Arguments of `chatd migrate`.
#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    /// Show which migrations are applied, and apply none
    #[arg(long)]
    pub status: bool,
}
