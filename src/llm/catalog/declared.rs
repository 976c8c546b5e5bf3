//! The records that a configuration declares. Ids are derived from names, so that they are the same
//! after a restart and on every replica.

use crate::{
    chat::json::Json,
    clock::Timestamp,
    config::{self, Endpoint, models::Model, providers::Provider},
    ids::{ModelConfigId, ProviderId},
    llm::providers,
    store::records::models::{ModelRecord, ProviderRecord, Source},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Namespace of derived ids: a random UUID, fixed for ever.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d0f_4a58_3c1e_4b7b_9a45_2f8e_b0c7_71d3);

/// The id of the declared provider of this name.
#[must_use]
pub fn provider_id(name: &str) -> ProviderId {
    ProviderId(Uuid::new_v5(&NAMESPACE, format!("provider/{name}").as_bytes()))
}

/// The id of the declared model of this name.
#[must_use]
pub fn model_id(name: &str) -> ModelConfigId {
    ModelConfigId(Uuid::new_v5(&NAMESPACE, format!("model/{name}").as_bytes()))
}

/// A declared provider as a record. Its key stays in the configuration.
#[must_use]
pub fn provider_record(spec: &Provider, now: Timestamp) -> ProviderRecord {
    let kind = providers::lookup(spec.kind.as_str());
    let kind_name = kind.map_or(spec.kind.as_str(), |k| k.name);
    let takes_user_keys = kind_name != providers::SCRIPTED;
    ProviderRecord {
        id: provider_id(&spec.name),
        kind: kind_name.to_owned(),
        name: spec.name.clone(),
        display_name: spec
            .display_name
            .clone()
            .unwrap_or_else(|| providers::display_name(kind_name).to_owned()),
        icon: String::new(),
        enabled: spec.enabled,
        base_url: spec.base_url.as_ref().map(|url| Endpoint::as_str(url).to_owned()),
        central_api_key_enabled: true,
        allow_user_api_key: takes_user_keys,
        allow_central_api_key_fallback: takes_user_keys,
        source: Source::Config,
        created_at: now,
        updated_at: now,
    }
}

/// A declared model as a record.
#[must_use]
pub fn model_record(spec: &Model, compaction_threshold: u8, now: Timestamp) -> ModelRecord {
    ModelRecord {
        id: model_id(&spec.name),
        provider_id: provider_id(&spec.provider),
        name: Some(spec.name.clone()),
        model: spec.model.clone(),
        display_name: spec.display_name().to_owned(),
        enabled: spec.enabled,
        is_default: spec.default,
        context_limit: i64::try_from(spec.context_limit).unwrap_or(i64::MAX),
        compression_threshold: i64::from(spec.compaction_threshold.unwrap_or(compaction_threshold)),
        model_config: Json::of(&model_config(spec)),
        source: Source::Config,
        created_at: now,
        updated_at: now,
    }
}

/// The `model_config` object of api.md §2.11: what is set, and nothing else.
fn model_config(spec: &Model) -> Map<String, Value> {
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            all.insert(key.to_owned(), value);
        }
    };
    let price = |p: &Option<config::Price>| p.as_ref().map(|p| p.as_str().to_owned());
    let prices = [
        ("input_price_per_million_tokens", price(&spec.input_price_per_million)),
        ("output_price_per_million_tokens", price(&spec.output_price_per_million)),
        ("cache_read_price_per_million_tokens", price(&spec.cache_read_price_per_million)),
        ("cache_write_price_per_million_tokens", price(&spec.cache_write_price_per_million)),
    ];
    let cost: Map<String, Value> =
        prices.into_iter().filter_map(|(key, price)| Some((key.to_owned(), json!(price?)))).collect();
    if !cost.is_empty() {
        put("cost", Value::Object(cost));
    }
    put("max_output_tokens", json!(spec.max_output_tokens));
    put("temperature", json!(spec.temperature));
    put("top_p", json!(spec.top_p));
    put("top_k", json!(spec.top_k));
    put("presence_penalty", json!(spec.presence_penalty));
    put("frequency_penalty", json!(spec.frequency_penalty));
    if let Some(effort) = &spec.reasoning_effort {
        put("reasoning_effort", json!({ "default": effort, "max": effort }));
    }
    if let Some(responses) = spec.use_responses_api {
        put("openai_config", json!({ "use_responses_api": responses }));
    }
    if !spec.provider_options.is_empty() {
        put("provider_options", Value::Object(spec.provider_options.clone()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable() {
        assert_eq!(model_id("a"), model_id("a"));
        assert_ne!(model_id("a").0, provider_id("a").0);
    }

    #[test]
    fn a_declared_model_says_what_is_set() {
        let spec = Model { name: "m".into(), model: "m-1".into(), provider: "p".into(), ..Model::default() };
        let record = model_record(&spec, 55, Timestamp::from_micros(0));
        assert_eq!((record.compression_threshold, record.display_name.as_str()), (55, "m"));
        assert_eq!(record.model_config.get(), r#"{"max_output_tokens":16384}"#);
    }
}
