//! `chatd token create | list | revoke`: API tokens, straight on the database.

use super::{Exit, Failure, Options, Outcome, daemon, output, user};
use crate::{
    api::token,
    clock::Clock,
    store::{Error, records::SiteRole},
};
use clap::{Args, Subcommand};
use serde_json::json;
use std::{fmt::Write, time::Duration};

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
    /// Who the token speaks for; made if there is no such user
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// Make a new user an administrator
    #[arg(long)]
    pub admin: bool,
    /// What to call the token
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub name: String,
    /// How long it is valid, as in 30d; for ever when nothing is said
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    pub ttl: Option<Duration>,
}

/// Arguments of `chatd token list`.
#[derive(Debug, Clone, Args)]
pub struct TokenListArgs {
    /// Only those of this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
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

/// Longest life of a token that ends: 100 years. Beyond it dates stop making sense.
const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if ttl.is_zero() || ttl > MAX_TTL {
        return Err("take more than 0s and at most 36500d, or leave it out for a token without end".into());
    }
    Ok(ttl)
}

/// Makes, lists or revokes tokens.
///
/// # Errors
/// When the database cannot be had or there is no such user or token.
pub fn run(command: &TokenCommand, options: &Options) -> Outcome {
    let config = options.load()?.config;
    match command {
        TokenCommand::Create(args) => create(args, &config),
        TokenCommand::List(args) => list(args, &config),
        TokenCommand::Revoke(args) => revoke(args, &config),
    }
}

fn create(args: &TokenCreateArgs, config: &crate::config::Config) -> Outcome {
    let now = Clock::system().now();
    let role = if args.admin { SiteRole::Admin } else { SiteRole::Member };
    let text = daemon::on_database(config, async |store| {
        let owner = match store.user_by_name(args.user.clone()).await {
            Ok(found) if args.admin && !found.is_admin() => {
                return Err(Failure::failed(format!(
                    "{:?} is a user already and no administrator; choose another name",
                    args.user
                )));
            }
            Ok(found) => found,
            Err(Error::NotFound) => {
                let made = store.create_user(user::record(&args.user, None, role, now)?, now).await?;
                output::note(format_args!("chatd: made the user {:?}", args.user));
                made
            }
            Err(e) => return Err(e.into()),
        };
        let mut minted = token::mint(owner.id, now, args.ttl.map(|ttl| now + ttl));
        minted.record.name.clone_from(&args.name);
        store.create_token(minted.record).await?;
        Ok(minted.text)
    })?;
    output::data(format!("{text}\n").as_bytes())
}

fn list(args: &TokenListArgs, config: &crate::config::Config) -> Outcome {
    let tokens = daemon::on_existing_database(config, async |store| {
        let of = match &args.user {
            Some(name) => Some(user::named(store, name).await?.id),
            None => None,
        };
        Ok(store.tokens(of).await?)
    })?;
    if args.json {
        let rows: Vec<_> = tokens
            .iter()
            .map(|(t, u)| {
                json!({ "id": t.id, "user": u.username, "kind": t.kind, "name": t.name,
                        "created_at": t.created_at, "expires_at": t.expires_at,
                        "last_used_at": t.last_used_at })
            })
            .collect();
        return output::data(format!("{}\n", json!(rows)).as_bytes());
    }
    let mut text = String::from(
        "ID          USER                  KIND     CREATED                      EXPIRES                      NAME\n",
    );
    for (t, u) in tokens {
        let expires = t.expires_at.map_or_else(|| "never".to_owned(), |e| e.to_string());
        // Writing to a String cannot fail.
        let (kind, created) = (t.kind.as_str(), t.created_at.to_string());
        let _ = writeln!(
            text,
            "{:<11} {:<21} {kind:<8} {created:<28} {expires:<28} {}",
            t.id, u.username, t.name
        );
    }
    output::data(text.as_bytes())
}

fn revoke(args: &TokenRevokeArgs, config: &crate::config::Config) -> Outcome {
    // A whole token is accepted too: its first half is the id.
    let id = args.id.split('-').next().unwrap_or_default().to_owned();
    if daemon::on_existing_database(config, async |store| {
        Ok(store.revoke_token(id.clone(), None).await?.is_some())
    })? {
        output::note(format_args!("chatd: revoked the token {id}"));
        return Ok(Exit::Done);
    }
    Err(Failure::failed(format!("there is no token {id:?}; `chatd token list` shows them")))
}
