//! Configuration: small structs, one file an area, read once at start and checked as a whole.
//!
//! Sources, later wins: defaults, one file, the environment (`CHATD__SECTION__KEY`, `.env`
//! included), flags. [`Config::load`] reads them all and reports everything that is wrong at once,
//! each with file and line. No secret is ever part of a message, of `Debug` or of [`to_toml`].

pub mod auth;
pub mod chat;
mod check;
pub mod database;
mod dotenv;
mod keys;
pub mod limits;
pub mod log;
pub mod mcp_servers;
pub mod metrics;
pub mod models;
pub mod postgres;
mod problem;
pub mod providers;
mod read;
mod resolve;
mod secret;
pub mod secrets;
pub mod server;
mod show;
mod sources;
pub mod stream;
pub mod telemetry;
pub mod templates;
mod tree;
mod units;
pub mod worker;

#[cfg(test)]
mod tests;

pub use problem::{ConfigError, Origin, Origins, Problem, unknown_among};
pub use secret::{MASK, Secret, masked_url};
pub use show::to_toml;
pub use sources::{Flag, Sources};
pub use units::{BadEndpoint, DatabaseUrl, Endpoint, Price};

use read::FaultKind;
use resolve::Report;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, path::PathBuf};
use tree::{Node, Segment, Value, dotted};

/// The commented file that `chatd config init` writes: every key, its default, what it is for.
pub const EXAMPLE: &str = include_str!("../../config.example.toml");

/// The sections that are lists of tables.
const LISTS: [&str; 4] = ["providers", "models", "templates", "mcp_servers"];

/// Everything an operator can set.
///
/// [`Config::default`] is what runs with no configuration at all, except that `data_dir` is empty
/// there: [`Config::load`] fills it from the environment, tests set a folder of their own.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the daemon keeps its files. Default: $XDG_DATA_HOME/chatd, else ~/.local/share/chatd.
    #[serde(with = "units::text")]
    pub data_dir: PathBuf,
    /// Where the daemon listens.
    pub server: server::Server,
    /// Where everything is kept.
    pub database: database::Database,
    /// Who may come in.
    pub auth: auth::Auth,
    /// How secrets are kept in the database.
    pub secrets: secrets::Secrets,
    /// How this replica takes and runs chats.
    pub worker: worker::Worker,
    /// What a watching client may hold.
    pub stream: stream::Stream,
    /// Limits and habits of every chat.
    pub chat: chat::Chat,
    /// How often somebody may ask.
    pub limits: limits::Limits,
    /// What is logged.
    pub log: log::Log,
    /// Figures for Prometheus.
    pub metrics: metrics::Metrics,
    /// Traces.
    pub telemetry: telemetry::Telemetry,
    /// Who serves models. With neither providers nor models: the built-in scripted one.
    pub providers: Vec<providers::Provider>,
    /// What people pick. With neither providers nor models: the built-in scripted one.
    pub models: Vec<models::Model>,
    /// What `create_workspace` can build. Default: one local template.
    pub templates: Vec<templates::Template>,
    /// External tool servers. Default: none.
    pub mcp_servers: Vec<mcp_servers::McpServer>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::new(),
            server: server::Server::default(),
            database: database::Database::default(),
            auth: auth::Auth::default(),
            secrets: secrets::Secrets::default(),
            worker: worker::Worker::default(),
            stream: stream::Stream::default(),
            chat: chat::Chat::default(),
            limits: limits::Limits::default(),
            log: log::Log::default(),
            metrics: metrics::Metrics::default(),
            telemetry: telemetry::Telemetry::default(),
            providers: vec![providers::Provider {
                name: "scripted".into(),
                kind: providers::ProviderKind::Scripted,
                ..providers::Provider::default()
            }],
            models: vec![models::Model {
                name: "scripted".into(),
                provider: "scripted".into(),
                model: "scripted".into(),
                default: true,
                ..models::Model::default()
            }],
            templates: vec![templates::Template { name: "local".into(), ..templates::Template::default() }],
            mcp_servers: Vec::new(),
        }
    }
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Where each of them came from.
    pub origins: Origins,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads all sources and checks the result.
    ///
    /// # Errors
    /// Everything that is wrong, as far as one fault does not hide another.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let (mut layers, mut problems) =
            sources::layers(sources).map_err(|problems| ConfigError { problems })?;
        let origins = layers.tree.origins();
        let declared = ["providers", "models"].map(|list| declares(&layers.tree, list));
        let (mut config, broken) = typed(&mut layers.tree, &origins, &mut problems);
        let mut report = Report { origins, problems, warnings: Vec::new() };
        resolve::complete(&mut config, &layers, &sources.cwd, declared, &mut report);
        check::check(&config, &broken, &mut report);
        if report.problems.is_empty() {
            let file = layers.file.map(|(shown, _)| shown);
            Ok(Loaded { config, origins: report.origins, file, warnings: report.warnings })
        } else {
            Err(ConfigError { problems: in_order(report.problems) })
        }
    }

    /// Variables of the environment in which this configuration looks for secrets, and those in which they usually are.
    #[must_use]
    pub fn secret_variables(&self) -> BTreeSet<String> {
        let usual = providers::ProviderKind::VENDORS
            .into_iter()
            .filter_map(providers::ProviderKind::usual_key_env)
            .map(str::to_owned);
        let providers = self.providers.iter().filter_map(|provider| provider.api_key_env.as_deref());
        let servers = self.mcp_servers.iter().flat_map(|server| {
            let keys = [&server.api_key_env, &server.oauth2_client_secret_env].into_iter().flatten();
            keys.chain(server.headers_env.values()).map(String::as_str)
        });
        let oidc = self.auth.oidc.as_ref().and_then(|oidc| oidc.client_secret_env.as_deref());
        let own = self.secrets.encryption_key_env.as_deref();
        providers.chain(servers).chain(oidc).chain(own).map(str::to_owned).chain(usual).collect()
    }

    /// The file of the embedded database; `None` when the database is PostgreSQL.
    #[must_use]
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        match &self.database.url {
            DatabaseUrl::Sqlite(file) => Some(self.data_dir.join(file)),
            DatabaseUrl::Postgres(_) => None,
        }
    }
}

fn declares(tree: &Node, list: &str) -> bool {
    matches!(&tree.value, Value::Table(table) if table.contains_key(list))
}

/// Reads the tree into structs. serde stops at the first fault, so each one is taken out of the tree
/// and the reading starts anew; the sections that lost a key are returned by name.
fn typed(tree: &mut Node, origins: &Origins, problems: &mut Vec<Problem>) -> (Config, Vec<String>) {
    let mut broken = Vec::new();
    loop {
        let fault = match Config::deserialize(&*tree) {
            Ok(config) => return (config, broken),
            Err(fault) => fault,
        };
        let key = dotted(&fault.path);
        let what = match &fault.kind {
            FaultKind::UnknownKey { known } => unknown_key(&fault.path, known),
            _ => fault.sentence(),
        };
        problems.push(Problem::new(origins.near(&key), key, what));
        if let Some(Segment::Key(section)) = fault.path.first() {
            broken.push(section.clone());
        }
        if !remove_fault(tree, &fault.path) {
            return (Config::default(), broken);
        }
    }
}

/// Takes out the fault itself, or the closest thing around it that the tree holds: what lies inside
/// the text of a variable is not in the tree.
fn remove_fault(tree: &mut Node, path: &[Segment]) -> bool {
    (1..=path.len()).rev().any(|depth| tree.remove(&path[..depth]))
}

fn unknown_key(path: &[Segment], known: &'static [&'static str]) -> String {
    let Some((Segment::Key(key), parents)) = path.split_last() else { return "unknown key".into() };
    let here: Vec<String> = parents
        .iter()
        .map(|segment| match segment {
            Segment::Key(key) => key.clone(),
            Segment::Index(_) => "[]".into(),
        })
        .collect();
    keys::unknown(key, &here.join(".").replace(".[]", "[]"), known)
}

/// By place, lines in their order; what has no place comes last.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_cached_key(|problem| {
        let (file, line) = match problem.place.rsplit_once(':') {
            Some((file, line)) => (file, line.parse().unwrap_or(0)),
            None => (problem.place.as_str(), 0_usize),
        };
        (problem.place.is_empty(), file.to_owned(), line)
    });
    problems.dedup();
    problems
}
