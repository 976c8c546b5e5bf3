//! `GET /chats/models`, `/chats/model-configs` (api.md §2.11). Models are declared in the
//! configuration file; the API shows them.

use super::{
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    query::uuid,
    state::ApiState,
};
use crate::{
    clock::Timestamp,
    config::models::Model,
    ids::{ModelConfigId, ProviderId},
    llm::catalog::{Catalog, ModelEntry, Unusable, wire_name},
};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// What the caller could use now.
#[derive(Serialize, ToSchema)]
#[schema(as = OfferedModels)]
pub struct Offer<'a> {
    providers: Vec<OfferedProvider<'a>>,
}

/// A provider type with its models.
#[derive(Serialize, ToSchema)]
pub struct OfferedProvider<'a> {
    provider: &'static str,
    available: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable_reason: Option<&'static str>,
    models: Vec<OfferedModel<'a>>,
}

/// A model that can be picked.
#[derive(Serialize, ToSchema)]
pub struct OfferedModel<'a> {
    id: String,
    provider: &'static str,
    model: &'a str,
    display_name: &'a str,
}

/// What the OpenAPI document says of it.
pub const OFFER: Doc = Doc::new("What the caller could use now").replies::<Offer<'static>>();

/// What the caller could use now.
pub async fn offer(state: web::Data<ApiState>, _: Caller) -> Result<HttpResponse> {
    Ok(body::ok(&offered(&state.catalog)))
}

/// One entry for each provider type, as clients look providers up by it.
fn offered(catalog: &Catalog) -> Offer<'_> {
    let mut providers: Vec<OfferedProvider<'_>> = Vec::new();
    for entry in catalog.providers() {
        let name = wire_name(entry.spec.kind);
        let usable = match entry.usable() {
            Ok(()) => true,
            Err(Unusable::ProviderDisabled) => continue,
            Err(Unusable::Unknown | Unusable::Disabled | Unusable::MissingKey) => false,
        };
        let models =
            catalog.models().iter().filter(|m| usable && m.provider.id == entry.id && m.is_offered());
        let models = models.map(|m| OfferedModel {
            id: format!("{name}:{}", m.spec.model),
            provider: name,
            model: &m.spec.model,
            display_name: m.spec.display_name(),
        });
        match providers.iter_mut().find(|p| p.provider == name) {
            Some(known) => {
                known.available |= usable;
                known.models.extend(models);
            }
            None => providers.push(OfferedProvider {
                provider: name,
                available: usable,
                unavailable_reason: None,
                models: models.collect(),
            }),
        }
    }
    for provider in &mut providers {
        provider.unavailable_reason = (!provider.available).then_some("missing_api_key");
    }
    Offer { providers }
}

/// A model configuration (api.md §2.11).
#[derive(Serialize, ToSchema)]
#[schema(as = ModelConfig)]
pub struct ModelOut<'a> {
    id: ModelConfigId,
    provider: &'static str,
    ai_provider_id: ProviderId,
    model: &'a str,
    display_name: &'a str,
    enabled: bool,
    is_default: bool,
    context_limit: u64,
    compression_threshold: u8,
    model_config: Map<String, Value>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// What the OpenAPI document says of it.
pub const CONFIGS: Doc = Doc::new("Model configurations").replies::<Vec<ModelOut<'static>>>();

/// The declared models: all for administrators, those that are offered for everybody else.
pub async fn configs(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    let shown = state.catalog.models().iter().filter(|m| caller.user.is_admin() || m.is_offered());
    Ok(body::ok(&shown.map(|m| config(&state.catalog, m)).collect::<Vec<_>>()))
}

fn config<'a>(catalog: &Catalog, model: &'a ModelEntry) -> ModelOut<'a> {
    ModelOut {
        id: model.id,
        provider: wire_name(model.provider.spec.kind),
        ai_provider_id: model.provider.id,
        model: &model.spec.model,
        display_name: model.spec.display_name(),
        enabled: model.spec.enabled,
        is_default: catalog.default_model().is_some_and(|d| d.id == model.id),
        context_limit: model.spec.context_limit,
        compression_threshold: model.compaction_threshold,
        model_config: options(&model.spec),
        created_at: catalog.declared_at(),
        updated_at: catalog.declared_at(),
    }
}

/// The `model_config` object: what is set, and nothing else.
fn options(spec: &Model) -> Map<String, Value> {
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            all.insert(key.to_owned(), value);
        }
    };
    let prices = [
        ("input_price_per_million_tokens", &spec.input_price_per_million),
        ("output_price_per_million_tokens", &spec.output_price_per_million),
        ("cache_read_price_per_million_tokens", &spec.cache_read_price_per_million),
        ("cache_write_price_per_million_tokens", &spec.cache_write_price_per_million),
    ];
    let cost: Map<String, Value> = prices
        .into_iter()
        .filter_map(|(key, price)| Some((key.to_owned(), json!(price.as_ref()?.as_str()))))
        .collect();
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

fn declared() -> Problem {
    Problem::forbidden("Models are declared in the configuration file of this server.")
        .detail("Change [[models]] there and restart.")
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Refused: models are declared in the configuration file");

/// Refuses to create.
pub async fn create(_: Caller) -> Result<HttpResponse> {
    Err(declared())
}

/// What the OpenAPI document says of it.
pub const CHANGE: Doc =
    Doc::new("Refused: models are declared in the configuration file").errors(&[400, 404]);

/// Refuses to change or delete, or says that there is no such model.
pub async fn change(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let id = uuid(&path).ok_or_else(|| Problem::bad_request("Invalid model config id."))?;
    let known = state.catalog.model(id).filter(|m| caller.user.is_admin() || m.is_offered());
    Err(known.map_or_else(|| Problem::not_found("Model config"), |_| declared()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        Secret,
        providers::{Provider, ProviderKind},
    };

    fn provider(name: &str, kind: ProviderKind, key: bool) -> Provider {
        Provider { name: name.into(), kind, key: key.then(|| Secret::new("canary")), ..Provider::default() }
    }
    fn model(name: &str, provider: &str) -> Model {
        Model { name: name.into(), provider: provider.into(), model: format!("{name}-1"), ..Model::default() }
    }

    #[test]
    fn offers_are_grouped_by_type_and_say_what_is_missing() {
        let providers = [
            provider("a", ProviderKind::OpenaiCompatible, false),
            provider("b", ProviderKind::OpenaiCompatible, true),
            provider("c", ProviderKind::Anthropic, false),
            Provider { enabled: false, ..provider("d", ProviderKind::Openai, true) },
        ];
        let models = [model("x", "a"), model("y", "b"), model("z", "c"), model("w", "d")];
        let catalog = Catalog::new(&providers, &models, 70, Timestamp::from_micros(0));
        assert_eq!(
            serde_json::to_value(offered(&catalog)).unwrap(),
            json!({"providers": [
                {"provider": "openai-compat", "available": true, "models": [
                    {"id": "openai-compat:x-1", "provider": "openai-compat", "model": "x-1", "display_name": "x"},
                    {"id": "openai-compat:y-1", "provider": "openai-compat", "model": "y-1", "display_name": "y"}]},
                {"provider": "anthropic", "available": false, "unavailable_reason": "missing_api_key", "models": []}
            ]})
        );
        let one = serde_json::to_value(config(&catalog, &catalog.models()[0])).unwrap();
        assert_eq!(
            (one["is_default"].clone(), one["compression_threshold"].clone()),
            (json!(true), json!(70))
        );
        assert_eq!(one["model_config"], json!({"max_output_tokens": 16384}));
        assert!(!one.to_string().contains("canary"));
    }
}
