//! `chatd user create | list | suspend`: users, straight on the database.

use super::{Exit, Failure, Options, Outcome, daemon, output};
use crate::{
    clock::{Clock, Timestamp},
    config::Config,
    ids::UserId,
    store::{Error, records::UserRecord},
};
use clap::{Args, Subcommand};
use serde_json::json;
use std::fmt::Write;

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

/// Longest name.
const MAX_NAME: usize = 64;

/// A new user.
///
/// # Errors
/// When the name cannot stand in a URL.
pub fn record(name: &str, email: Option<&str>, admin: bool, now: Timestamp) -> Result<UserRecord, Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) || name == "me" {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{name:?} is no user name: take up to {MAX_NAME} letters, digits, dots, dashes or underscores"
            ),
        ));
    }
    // Paths take a name or an id: a name that reads as an id could stand for somebody else.
    if uuid::Uuid::try_parse(name).is_ok() {
        return Err(Failure::new(Exit::Usage, format!("{name:?} is no user name: it reads as an id")));
    }
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    if let Some(email) = email
        && !(email.split_once('@').is_some_and(|(local, host)| !local.is_empty() && !host.is_empty())
            && email.chars().all(plain))
    {
        return Err(Failure::new(Exit::Usage, format!("{email:?} is no e-mail address")));
    }
    Ok(UserRecord {
        id: UserId::fresh(),
        username: name.to_owned(),
        name: name.to_owned(),
        email: email.map_or_else(|| format!("{name}@localhost"), str::to_owned),
        is_admin: admin,
        suspended: false,
        created_at: now,
        updated_at: now,
    })
}

/// Makes, lists or suspends users.
///
/// # Errors
/// When the database cannot be had, the name is taken, or there is no such user.
pub fn run(command: &UserCommand, options: &Options) -> Outcome {
    let config = options.load()?.config;
    match command {
        UserCommand::Create(args) => create(args, &config),
        UserCommand::List(args) => list(args, &config),
        UserCommand::Suspend(args) => suspend(args, &config),
    }
}

fn create(args: &UserCreateArgs, config: &Config) -> Outcome {
    let now = Clock::system().now();
    let user = record(&args.name, args.email.as_deref(), args.admin, now)?;
    let made = daemon::on_database(config, async |store| match store.create_user(user.clone(), now).await {
        Err(Error::Duplicate(_)) => {
            Err(Failure::failed(format!("the user {:?} exists already; choose another name", args.name)))
        }
        other => Ok(other?),
    })?;
    output::data(format!("{}\n", made.id).as_bytes())
}

fn list(args: &UserListArgs, config: &Config) -> Outcome {
    let users = daemon::on_database(config, async |store| Ok(store.list_users().await?))?;
    let status = |u: &UserRecord| if u.suspended { "suspended" } else { "active" };
    if args.json {
        let rows: Vec<_> = users
            .iter()
            .map(|u| {
                json!({ "id": u.id, "username": u.username, "email": u.email, "admin": u.is_admin,
                        "status": status(u), "created_at": u.created_at })
            })
            .collect();
        return output::data(format!("{}\n", json!(rows)).as_bytes());
    }
    let mut text = String::from("NAME                  ADMIN  STATUS     ID\n");
    for u in users {
        let admin = if u.is_admin { "yes" } else { "no" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<21} {admin:<6} {:<10} {}", u.username, status(&u), u.id);
    }
    output::data(text.as_bytes())
}

fn suspend(args: &UserSuspendArgs, config: &Config) -> Outcome {
    let now = Clock::system().now();
    daemon::on_database(config, async |store| {
        match store.set_suspended(args.name.clone(), true, now).await {
            Err(Error::NotFound) => Err(Failure::failed(format!(
                "there is no user {:?}; `chatd user list` shows them",
                args.name
            ))),
            other => Ok(other?),
        }
    })?;
    output::note(format_args!("chatd: suspended {:?}; their chats stay", args.name));
    Ok(Exit::Done)
}
