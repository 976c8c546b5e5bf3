//! `chatd doctor`: looks at everything that the daemon stands on, changes nothing, and says what is wrong.
//!
//! Each check is a [`Finding`]; what hangs on another one that failed is left out.

mod outside;
mod place;

use super::{StartError, open};
use crate::{clock::Clock, config::Config, ids::WorkerId, store::Store};
use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// Something does not work.
    Failed,
    /// There was nothing to look at.
    Skipped,
}

impl Verdict {
    /// One word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The configuration.
    Configuration,
    /// The daemon's folder.
    DataDir,
    /// Whether the database is there, and its migrations.
    Database,
    /// What the database holds.
    Integrity,
    /// The keys that its secrets are sealed with.
    EncryptionKeys,
    /// A daemon that runs.
    Daemon,
    /// A provider of models.
    Provider,
    /// A server of tools.
    McpServer,
}

impl Check {
    /// The name for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::DataDir => "data folder",
            Self::Database => "database",
            Self::Integrity => "integrity",
            Self::EncryptionKeys => "encryption keys",
            Self::Daemon => "daemon",
            Self::Provider => "provider",
            Self::McpServer => "MCP server",
        }
    }
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// Which one, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found and, if that is not good, what to do. Holds no secret.
    pub detail: String,
}

impl Finding {
    /// The outcome of a check of which there is one.
    #[must_use]
    pub fn new(check: Check, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { check, name: None, verdict, detail: detail.into() }
    }

    fn of(check: Check, name: &str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { name: Some(name.to_owned()), ..Self::new(check, verdict, detail) }
    }
}

/// Looks at everything, one after the other, and tells each finding as soon as there is one.
///
/// # Errors
/// Why a daemon would not get its database. That is among the findings too, and everything else was looked at.
pub async fn examine(config: &Config, tell: &mut (dyn FnMut(Finding) + Send)) -> Result<(), StartError> {
    tell(place::data_dir(config));
    let opened = database(config, tell).await;
    if let Err(error) = &opened {
        let detail = format!("{error}{}", error.advice());
        tell(Finding::new(Check::Database, Verdict::Failed, detail));
    }
    let store = opened.as_ref().ok().and_then(Option::as_ref);
    if let Some(store) = store {
        tell(integrity(store).await);
        tell(keys(store).await);
    }
    outside::look(config, store, Clock::system().now(), tell).await;
    opened.map(drop)
}

/// Opens the database, if there is one and that changes nothing.
async fn database(
    config: &Config,
    tell: &mut (dyn FnMut(Finding) + Send),
) -> Result<Option<Store>, StartError> {
    let say = |verdict, detail: String| Finding::new(Check::Database, verdict, detail);
    if let Some(file) = config.sqlite_file().filter(|file| !file.exists()) {
        tell(say(
            Verdict::Skipped,
            format!("there is no {} yet; the first start of the daemon makes it", file.display()),
        ));
        return Ok(None);
    }
    let pending = open::migrations(config, false).await?.pending.len();
    if pending > 0 {
        let what =
            format!("{pending} migrations are not applied; `chatd migrate` or the next start applies them");
        tell(say(Verdict::Warning, what));
        return Ok(None);
    }
    let opened = open::open(config, WorkerId::fresh(), false).await?;
    let what = config.sqlite_file().map_or("PostgreSQL".into(), |file| file.display().to_string());
    tell(say(Verdict::Ok, format!("{what}, with all migrations")));
    Ok(Some(opened.store))
}

async fn integrity(store: &Store) -> Finding {
    let (verdict, detail) = match store.faults().await {
        Ok(faults) if faults.is_empty() => (Verdict::Ok, "everything fits together".to_owned()),
        Ok(faults) => (Verdict::Failed, faults.join("; ")),
        Err(error) => (Verdict::Failed, format!("the database cannot be read: {error}")),
    };
    Finding::new(Check::Integrity, verdict, detail)
}

async fn keys(store: &Store) -> Finding {
    let place = store.keys().place().to_string();
    let say = |verdict, detail| Finding::new(Check::EncryptionKeys, verdict, detail);
    let states = match store.key_states().await {
        Ok(states) => states,
        Err(error) => return say(Verdict::Failed, format!("the sealed secrets cannot be read: {error}")),
    };
    let missing: Vec<_> = states.iter().filter(|key| !key.listed && (key.seals || key.secrets > 0)).collect();
    let secrets: i64 = states.iter().map(|key| key.secrets).sum();
    match missing.as_slice() {
        [] if states.is_empty() => {
            say(Verdict::Skipped, "there are none yet; the first start of the daemon makes one".into())
        }
        [] if secrets == 0 => say(Verdict::Ok, format!("in {place}; the database holds no secrets yet")),
        [] => say(Verdict::Ok, format!("in {place}, and right for the {secrets} secrets of the database")),
        missing => {
            let names: Vec<String> = missing.iter().map(|key| key.id.to_string()).collect();
            let lost: i64 = missing.iter().map(|key| key.secrets).sum();
            let names = names.join(", ");
            say(
                Verdict::Failed,
                format!(
                    "{place} lacks the keys {names}, which {lost} secrets need; bring them back from a backup"
                ),
            )
        }
    }
}
