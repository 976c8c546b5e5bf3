//! `chatd token create | list | revoke`: API tokens, straight on the database.

use clap::{Args, Subcommand};
use std::time::Duration;

/// What to do with API tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, alone, on stdout
    Create(TokenCreateArgs),
    /// List tokens, without the tokens themselves
    List(TokenListArgs),
    /// End the use of a token
    Revoke(TokenRevokeArgs),
}

/// Arguments of `chatd token create`.
#[derive(Debug, Clone, Args)]
pub struct TokenCreateArgs {
    /// Who the token speaks for
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// Make the user an administrator
    #[arg(long)]
    pub admin: bool,
    /// How long it is valid, as in 30d; for ever when nothing is said
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub ttl: Option<Duration>,
}

/// Arguments of `chatd token list`.
#[derive(Debug, Clone, Args)]
pub struct TokenListArgs {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `chatd token revoke`.
#[derive(Debug, Clone, Args)]
pub struct TokenRevokeArgs {
    /// Id of the token, as `chatd token list` shows it
    pub id: String,
}
