//! `chatd user create | list | suspend`: users, straight on the database.

use clap::{Args, Subcommand};

/// What to do with users.
#[derive(Debug, Clone, Subcommand)]
pub enum UserCommand {
    /// Make a user
    Create(UserCreateArgs),
    /// List users
    List(UserListArgs),
    /// Lock a user out; their chats stay
    Suspend(UserSuspendArgs),
}

/// Arguments of `chatd user create`.
#[derive(Debug, Clone, Args)]
pub struct UserCreateArgs {
    /// Name to sign in with
    pub name: String,
    /// E-mail address
    #[arg(long)]
    pub email: Option<String>,
    /// Make the user an administrator
    #[arg(long)]
    pub admin: bool,
}

/// Arguments of `chatd user list`.
#[derive(Debug, Clone, Args)]
pub struct UserListArgs {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `chatd user suspend`.
#[derive(Debug, Clone, Args)]
pub struct UserSuspendArgs {
    /// Name of the user
    pub name: String,
}
