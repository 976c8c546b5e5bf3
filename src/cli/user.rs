//! `chatd user …`: users, straight on the database.

use super::{Exit, Failure, Options, Outcome, daemon, output};
use crate::{
    api::{names, passwords, sessions},
    clock::{Clock, Timestamp},
    config::{Config, Endpoint},
    store::{
        Error, Store,
        records::{LoginType, NewUser, SiteRole, UserRecord},
    },
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::fmt::Write;

/// What to do with users.
#[derive(Debug, Clone, Subcommand)]
pub enum UserCommand {
    /// Make a user and print its id
    Create(UserCreateArgs),
    /// List users
    List(UserListArgs),
    /// Lock a user out; their chats stay
    Suspend(UserNameArgs),
    /// Let a suspended user in again
    Activate(UserNameArgs),
    /// Delete a user; their chats stay
    Delete(UserNameArgs),
    /// Make a user an owner, an administrator, or neither
    Role(UserRoleArgs),
    /// Set a user's password, read from stdin; their sessions end
    Password(UserNameArgs),
    /// Print a link that signs a user in, once, within an hour
    LoginLink(UserNameArgs),
}

/// Arguments of `chatd user create`.
#[derive(Debug, Clone, Args)]
pub struct UserCreateArgs {
    /// Name to sign in with
    pub name: String,
    /// E-mail address
    #[arg(long)]
    pub email: Option<String>,
    /// Name to show
    #[arg(long, value_name = "TEXT")]
    pub display_name: Option<String>,
    /// Read a password from stdin; without one the user comes in by tokens and login links
    #[arg(long)]
    pub password_stdin: bool,
    /// What the user may do in the whole deployment
    #[arg(long, value_enum, value_name = "ROLE", default_value_t = Role::Member)]
    pub role: Role,
    /// Make the user an administrator: --role admin
    #[arg(long, conflicts_with = "role")]
    pub admin: bool,
    /// Leave out the right to create chats (the role agents-access)
    #[arg(long)]
    pub no_agents_access: bool,
}

/// A role in the whole deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Everything
    Owner,
    /// Settings and users, except owners
    Admin,
    /// Nobody special
    Member,
}

impl From<Role> for SiteRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
        }
    }
}

/// Arguments of `chatd user list`.
#[derive(Debug, Clone, Args)]
pub struct UserListArgs {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// The user that a command is about.
#[derive(Debug, Clone, Args)]
pub struct UserNameArgs {
    /// Name of the user
    pub name: String,
}

/// Arguments of `chatd user role`.
#[derive(Debug, Clone, Args)]
pub struct UserRoleArgs {
    /// Name of the user
    pub name: String,
    /// What the user may do in the whole deployment
    #[arg(value_enum)]
    pub role: Role,
}

/// A new user.
///
/// # Errors
/// When the name cannot stand in a URL, or the address is none.
pub fn record(
    name: &str,
    email: Option<&str>,
    role: SiteRole,
    now: Timestamp,
) -> Result<UserRecord, Failure> {
    if !names::is_name(name) {
        return Err(Failure::new(
            Exit::Usage,
            format!("{name:?} is no user name: take up to 64 letters, digits, dots, dashes or underscores"),
        ));
    }
    let mut user = UserRecord::new(name, now).with_role(role);
    if let Some(email) = email {
        if !names::is_email(email) {
            return Err(Failure::new(Exit::Usage, format!("{email:?} is no mail address")));
        }
        email.clone_into(&mut user.email);
    }
    Ok(user)
}

/// Makes, lists and changes users.
///
/// # Errors
/// When the database cannot be had, the name is taken, or there is no such user.
pub fn run(command: &UserCommand, options: &Options) -> Outcome {
    let config = options.load()?.config;
    match command {
        UserCommand::Create(args) => create(args, &config),
        UserCommand::List(args) => list(args, &config),
        UserCommand::Suspend(args) => set_suspended(&args.name, true, &config),
        UserCommand::Activate(args) => set_suspended(&args.name, false, &config),
        UserCommand::Delete(args) => delete(&args.name, &config),
        UserCommand::Role(args) => set_role(&args.name, args.role.into(), &config),
        UserCommand::Password(args) => set_password(&args.name, &config),
        UserCommand::LoginLink(args) => login_link(&args.name, &config),
    }
}

/// The first line of stdin, hashed.
fn password() -> Result<String, Failure> {
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|e| Failure::failed(format!("the password cannot be read from stdin: {e}")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if !passwords::is_good(password) {
        let rule = passwords::RULE.trim_end_matches('.');
        return Err(Failure::new(Exit::Usage, format!("this cannot be a password: {rule}")));
    }
    passwords::hash_now(password).map_err(|e| Failure::failed(format!("the password cannot be hashed: {e}")))
}

fn create(args: &UserCreateArgs, config: &Config) -> Outcome {
    let now = Clock::system().now();
    let role = if args.admin { SiteRole::Admin } else { args.role.into() };
    let mut user = record(&args.name, args.email.as_deref(), role, now)?;
    if let Some(name) = &args.display_name {
        name.clone_into(&mut user.name);
    }
    let mut new = NewUser::plain(user);
    new.agents_access = !args.no_agents_access;
    if args.password_stdin {
        new.password_hash = Some(password()?);
        new.user.login_type = LoginType::Password;
    }
    let made =
        daemon::on_database(config, async |store| match store.create_person(new.clone(), now).await {
            Err(Error::Duplicate(what)) if what.contains("address") => Err(Failure::failed(format!(
                "{what} exists already ({}); give another one with --email",
                new.user.email
            ))),
            Err(Error::Duplicate(_)) => {
                Err(Failure::failed(format!("the user {:?} exists already; choose another name", args.name)))
            }
            other => Ok(other?),
        })?;
    output::data(format!("{}\n", made.id).as_bytes())
}

fn list(args: &UserListArgs, config: &Config) -> Outcome {
    let users = daemon::on_existing_database(config, async |store| Ok(store.list_users().await?))?;
    if args.json {
        let rows: Vec<_> = users
            .iter()
            .map(|u| {
                json!({ "id": u.id, "username": u.username, "name": u.name, "email": u.email,
                        "admin": u.is_admin(), "role": u.role, "login_type": u.login_type,
                        "status": u.status(), "created_at": u.created_at, "last_seen_at": u.last_seen_at })
            })
            .collect();
        return output::data(format!("{}\n", json!(rows)).as_bytes());
    }
    let mut text = String::from("NAME                  ROLE    STATUS     ID\n");
    for u in users {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<21} {:<7} {:<10} {}", u.username, u.role.as_str(), u.status(), u.id);
    }
    output::data(text.as_bytes())
}

/// The user of this name.
///
/// # Errors
/// When there is none.
pub async fn named(store: &Store, name: &str) -> Result<UserRecord, Failure> {
    match store.user_by_name(name.to_owned()).await {
        Err(Error::NotFound) => {
            Err(Failure::failed(format!("there is no user {name:?}; `chatd user list` shows them")))
        }
        other => Ok(other?),
    }
}

fn set_suspended(name: &str, suspended: bool, config: &Config) -> Outcome {
    let now = Clock::system().now();
    daemon::on_existing_database(config, async |store| {
        let user = named(store, name).await?;
        Ok(store.set_suspended(user.id, suspended, now).await?)
    })?;
    match suspended {
        true => output::note(format_args!("chatd: suspended {name:?}; their chats stay")),
        false => output::note(format_args!("chatd: {name:?} may come in again")),
    }
    Ok(Exit::Done)
}

fn delete(name: &str, config: &Config) -> Outcome {
    let now = Clock::system().now();
    daemon::on_existing_database(config, async |store| {
        let user = named(store, name).await?;
        Ok(store.delete_user(user.id, now).await?)
    })?;
    output::note(format_args!("chatd: deleted {name:?}; their chats stay"));
    Ok(Exit::Done)
}

fn set_role(name: &str, role: SiteRole, config: &Config) -> Outcome {
    let now = Clock::system().now();
    daemon::on_existing_database(config, async |store| {
        let user = named(store, name).await?;
        Ok(store.set_role(user.id, role, now).await?)
    })?;
    output::note(format_args!("chatd: {name:?} has the role {}", role.as_str()));
    Ok(Exit::Done)
}

fn set_password(name: &str, config: &Config) -> Outcome {
    let hash = password()?;
    let now = Clock::system().now();
    daemon::on_existing_database(config, async |store| {
        let user = named(store, name).await?;
        Ok(store.set_password(user.id, hash.clone(), None, now).await?)
    })?;
    output::note(format_args!("chatd: {name:?} has a new password; their sessions have ended"));
    Ok(Exit::Done)
}

fn login_link(name: &str, config: &Config) -> Outcome {
    let now = Clock::system().now();
    let text = daemon::on_existing_database(config, async |store| {
        let user = named(store, name).await?;
        if user.suspended {
            return Err(Failure::failed(format!(
                "{name:?} is suspended; `chatd user activate {name}` lets them in again"
            )));
        }
        let (text, link) = sessions::link(user.id, now);
        store.create_login_link(link).await?;
        Ok(text)
    })?;
    output::data(format!("{}\n", sessions::link_url(&address(config), &text)).as_bytes())
}

/// Where people reach the daemon: as the configuration says, else as the last start has written down, since its port may come
/// from a flag.
fn address(config: &Config) -> String {
    let written = || std::fs::read_to_string(config.data_dir.join("url")).ok();
    let started = written().and_then(|text| text.trim().parse::<Endpoint>().ok());
    match started.filter(|_| config.server.public_url.is_none()) {
        Some(url) => url.as_str().to_owned(),
        None => config.server.public_url(config.server.listen),
    }
}
