//! Flags that every command takes: where configuration comes from and what stands above it.

use super::exit::{Exit, Failure};
use crate::{
    config::{Config, ConfigError, Flag, Loaded, Problem, Sources, log::LogFormat, unknown_among},
    llm::model_config::{normalise, unknown_option},
};
use clap::Args;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Where configuration comes from, and the keys that flags can set.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub struct Options {
    /// Read this configuration file and no other
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Address and port to listen on [server.listen]
    #[arg(long, value_name = "ADDRESS", global = true)]
    pub listen: Option<String>,
    /// Folder of the daemon's files [data_dir]
    #[arg(long, value_name = "DIR", global = true)]
    pub data_dir: Option<String>,
    /// The database, sqlite:FILE or postgres://… [database.url]
    #[arg(long, value_name = "URL", global = true)]
    pub database_url: Option<String>,
    /// Log levels, as in info,chatd::turn=debug [log.filter]
    #[arg(long, value_name = "FILTER", global = true)]
    pub log_filter: Option<String>,
    /// Form of the log [log.format]
    #[arg(long, value_enum, value_name = "FORMAT", global = true)]
    pub log_format: Option<LogFormat>,
}

impl Options {
    /// Everything configuration is made of, for this process.
    ///
    /// # Errors
    /// When the environment cannot be read.
    pub fn sources(&self) -> Result<Sources, Failure> {
        let format = self.log_format.map(|format| match format {
            LogFormat::Pretty => "pretty".to_owned(),
            LogFormat::Json => "json".to_owned(),
        });
        let flags = [
            ("--listen", "server.listen", self.listen.clone()),
            ("--data-dir", "data_dir", self.data_dir.clone()),
            ("--database-url", "database.url", self.database_url.clone()),
            ("--log-filter", "log.filter", self.log_filter.clone()),
            ("--log-format", "log.format", format),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(name, key, value)| value.map(|value| Flag { name, key, value }))
            .collect();
        Sources::of_process(self.config.clone(), flags).map_err(|error| {
            Failure::new(Exit::Config, format!("configuration cannot be looked for: {error}"))
        })
    }

    /// The effective configuration.
    ///
    /// # Errors
    /// Status 78 and the first problem, when it is not valid.
    pub fn load(&self) -> Result<Loaded, Failure> {
        Ok(load(&self.sources()?)?)
    }
}

/// The effective configuration, with what only the code for models knows to be wrong in it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let loaded = Config::load(sources)?;
    let problems: Vec<Problem> = loaded
        .config
        .models
        .iter()
        .enumerate()
        .filter_map(|(i, model)| {
            let (below, what) = wrong_option(&model.provider_options)?;
            Some(loaded.origins.problem(format!("models[{i}].provider_options.{below}"), what))
        })
        .collect();
    if problems.is_empty() { Ok(loaded) } else { Err(ConfigError { problems }) }
}

/// The first option of a model that nobody reads, or that nobody can read: its path and why.
fn wrong_option(options: &Map<String, Value>) -> Option<(String, String)> {
    if let Some(unknown) = unknown_option(options) {
        let path = [unknown.tables, vec![unknown.key.clone()]].concat().join(".");
        return Some((path, unknown_among(&unknown.key, &unknown.known)));
    }
    let whole = Map::from_iter([("provider_options".to_owned(), Value::Object(options.clone()))]);
    let wrong = normalise(&whole).err()?;
    let path = wrong.path.trim_start_matches("model_config.provider_options.").to_owned();
    Some((path, wrong.detail))
}
