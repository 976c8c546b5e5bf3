//! The catalogue of models, with what the configuration declares brought in step; starts the scripted
//! models.

use super::StartError;
use crate::{
    clock::Timestamp,
    config::{Config, providers::ProviderKind},
    llm::{
        catalog::{LiveCatalog, Outside},
        scripted::{self, Script, ScriptedServer},
    },
    store::Store,
    turn::{engine::TurnEngine, retry::Policy},
};
use std::sync::Arc;

/// The turn's view of the configuration, and the scripted servers that must stay alive with it.
pub struct Models {
    /// Models and providers.
    pub catalog: Arc<LiveCatalog>,
    /// For the turns.
    pub engine: TurnEngine,
    /// Stop when dropped.
    pub scripted: Vec<ScriptedServer>,
}

/// Builds the engine. Must run on the runtime that the scripted servers will live on.
///
/// # Errors
/// When a script cannot be read, a scripted server cannot be started, or the database fails.
pub async fn build(config: &Config, store: &Store, now: Timestamp) -> Result<Models, StartError> {
    let mut servers = Vec::new();
    let mut outside =
        Outside { allow_user_api_keys: config.secrets.allow_user_api_keys, ..Outside::default() };
    for provider in &config.providers {
        if let Some(key) = &provider.key {
            outside.keys.insert(provider.name.clone(), key.clone());
        }
        if provider.kind == ProviderKind::Scripted && provider.base_url.is_none() {
            let script = load_script(provider.script.as_deref())?;
            let server = scripted::start(script)
                .await
                .map_err(|e| StartError::Failed(format!("the scripted model could not be started: {e}")))?;
            outside.scripted.insert(provider.name.clone(), server.base_url());
            servers.push(server);
        }
    }
    let threshold = config.chat.compaction_threshold_percent;
    let catalog = LiveCatalog::open(store, &config.providers, &config.models, threshold, outside, now)
        .await
        .map_err(|e| StartError::Database(format!("providers and models could not be read: {e}")))?;
    let catalog = Arc::new(catalog);
    let engine = TurnEngine {
        catalog: Arc::clone(&catalog),
        max_steps: config.worker.max_steps as usize,
        policy: Policy { max_attempts: i64::from(config.worker.max_attempts), ..Policy::default() },
        tool_result_timeout: config.worker.tool_result_timeout,
    };
    Ok(Models { catalog, engine, scripted: servers })
}

pub(super) fn load_script(path: Option<&std::path::Path>) -> Result<Script, StartError> {
    let Some(path) = path else { return Ok(Script::default()) };
    let wrong = |e: String| StartError::Config(format!("the script {} cannot be used: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    Script::parse(&text).map_err(|e| wrong(e.to_string()))
}
