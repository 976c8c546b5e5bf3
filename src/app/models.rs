//! From the catalogue to models that a turn can call; starts the scripted ones.

use super::StartError;
use crate::{
    config::{Config, providers::ProviderKind, templates::TemplateKind},
    ids::ModelConfigId,
    llm::{
        catalog::{Catalog, ModelEntry},
        providers,
        request::Request,
        scripted::{self, Script, ScriptedServer},
    },
    turn::{
        cost::Prices,
        engine::{ModelChoice, TurnEngine},
        retry::Policy,
    },
};
use serde_json::json;
use std::{collections::HashMap, path::PathBuf, sync::Arc};

/// The turn's view of the configuration, and the scripted servers that must stay alive with it.
pub struct Models {
    /// For the turns.
    pub engine: TurnEngine,
    /// Stop when dropped.
    pub scripted: Vec<ScriptedServer>,
}

/// Builds the engine. Must run on the runtime that the scripted servers will live on.
///
/// # Errors
/// When a script cannot be read or a scripted server cannot be started.
pub async fn build(config: &Config, catalog: &Catalog) -> Result<Models, StartError> {
    let mut servers = Vec::new();
    let mut scripted_urls: HashMap<String, String> = HashMap::new();
    for entry in catalog.providers() {
        if entry.spec.kind == ProviderKind::Scripted && entry.spec.base_url.is_none() {
            let script = load_script(entry.spec.script.as_deref())?;
            let server = scripted::start(script)
                .await
                .map_err(|e| StartError::Failed(format!("the scripted model could not be started: {e}")))?;
            scripted_urls.insert(entry.spec.name.clone(), server.base_url());
            servers.push(server);
        }
    }
    let mut models = HashMap::new();
    for entry in catalog.models() {
        let choice = choice(entry, scripted_urls.get(&entry.provider.spec.name))?;
        models.insert(choice.id, Arc::new(choice));
    }
    let engine = TurnEngine {
        models,
        default_model: catalog.default_model().map(|m| m.id),
        max_steps: config.worker.max_steps as usize,
        policy: Policy { max_attempts: i64::from(config.worker.max_attempts), ..Policy::default() },
        tool_result_timeout: config.worker.tool_result_timeout,
        workspaces: local_template(config)?,
    };
    Ok(Models { engine, scripted: servers })
}

/// The folder pattern of the first `local` template.
fn local_template(config: &Config) -> Result<Option<PathBuf>, StartError> {
    let Some(template) = config.templates.iter().find(|t| t.kind == TemplateKind::Local) else {
        return Ok(None);
    };
    let pattern = config.data_dir.join(&template.directory);
    let absolute = std::path::absolute(&pattern).map_err(|e| {
        StartError::Config(format!("the template folder {} cannot be used: {e}", pattern.display()))
    })?;
    Ok(Some(absolute))
}

fn load_script(path: Option<&std::path::Path>) -> Result<Script, StartError> {
    let Some(path) = path else { return Ok(Script::default()) };
    let wrong = |e: String| StartError::Config(format!("the script {} cannot be used: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    Script::parse(&text).map_err(|e| wrong(e.to_string()))
}

fn choice(entry: &ModelEntry, scripted_url: Option<&String>) -> Result<ModelChoice, StartError> {
    let spec = &entry.spec;
    let kind = providers::lookup(entry.provider.spec.kind.as_str());
    let endpoint = match (scripted_url, kind) {
        (Some(url), Some(kind)) => kind.endpoint(Some(url), None, false),
        _ => entry.endpoint(),
    };
    let price = |p: &Option<crate::config::Price>| p.as_ref().map(|p| p.as_str().to_owned());
    let cost = json!({ "cost": {
        "input_price_per_million_tokens": price(&spec.input_price_per_million),
        "output_price_per_million_tokens": price(&spec.output_price_per_million),
        "cache_read_price_per_million_tokens": price(&spec.cache_read_price_per_million),
        "cache_write_price_per_million_tokens": price(&spec.cache_write_price_per_million),
    }});
    let prices = Prices::from_model_config(&crate::chat::json::Json::of(&cost)).map_err(|e| {
        StartError::Config(format!("the prices of model {:?} cannot be used: {e}", spec.name))
    })?;
    let to_i64 = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Ok(ModelChoice {
        id: ModelConfigId(entry.id.0),
        name: spec.name.clone(),
        enabled: entry.is_offered(),
        provider_type: kind.map_or(entry.provider.spec.kind.as_str(), |k| k.name).to_owned(),
        endpoint,
        context_limit: Some(to_i64(spec.context_limit)).filter(|l| *l > 0),
        compaction_threshold: Some(i64::from(entry.compaction_threshold)),
        user_threshold: None,
        prices,
        image_cap: kind.and_then(|k| k.image_cap),
        defaults: Request {
            model: spec.model.clone(),
            max_output_tokens: Some(to_i64(spec.max_output_tokens)).filter(|n| *n > 0),
            temperature: spec.temperature,
            top_p: spec.top_p,
            top_k: spec.top_k.map(i64::from),
            presence_penalty: spec.presence_penalty,
            frequency_penalty: spec.frequency_penalty,
            reasoning_effort: spec.reasoning_effort.clone(),
            provider_options: spec.provider_options.clone(),
            ..Request::default()
        },
    })
}
