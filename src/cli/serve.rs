//! `chatd serve`, and `chatd` alone.

use clap::Args;

/// Arguments of `chatd serve`: none of its own. `--config` and the flags that set a key are those
/// of every command ([`super::Options`]).
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {}
