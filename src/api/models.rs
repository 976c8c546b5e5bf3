//! `GET /chats/models`, `/chats/model-configs` (api.md §2.11).

use super::{
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    provider_input::{admin_only, declared, fresh, precondition, text, write_error},
    query::path_id,
    state::ApiState,
};
use crate::{
    chat::json::Json,
    clock::Timestamp,
    ids::{ModelConfigId, ProviderId, UserId},
    llm::{
        catalog::{Catalog, ModelEntry, ProviderEntry, Unusable},
        model_config,
    },
    store::records::models::{ModelRecord, Source},
    turn::cost::Prices,
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;

/// Percent of the context at which a history is compacted when nobody said (api.md §2.11).
const DEFAULT_THRESHOLD: i64 = 70;
/// The same for models with a large context.
const LARGE_THRESHOLD: i64 = 30;
/// Tokens from which a context is large.
const LARGE_CONTEXT: i64 = 500_000;

/// What the caller could use now.
#[derive(Serialize, ToSchema)]
#[schema(as = OfferedModels)]
pub struct Offer<'a> {
    providers: Vec<OfferedProvider<'a>>,
}

/// A provider type with its models.
#[derive(Serialize, ToSchema)]
pub struct OfferedProvider<'a> {
    provider: &'a str,
    available: bool,
    /// `missing_api_key` or `user_api_key_required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable_reason: Option<&'static str>,
    models: Vec<OfferedModel<'a>>,
}

/// A model that can be picked.
#[derive(Serialize, ToSchema)]
pub struct OfferedModel<'a> {
    id: String,
    provider: &'a str,
    model: &'a str,
    display_name: &'a str,
}

/// What the OpenAPI document says of it.
pub const OFFER: Doc = Doc::new("What the caller could use now").replies::<Offer<'static>>();

/// What the caller could use now.
pub async fn offer(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    Ok(body::ok(&offered(&state.catalog.current(), caller.user.id)))
}

/// One entry for each provider type, as clients look providers up by it.
fn offered(catalog: &Catalog, user: UserId) -> Offer<'_> {
    let mut providers: Vec<OfferedProvider<'_>> = Vec::new();
    for entry in catalog.providers() {
        let (name, usable) = (entry.record.kind.as_str(), entry.usable_by(user));
        let reason = match usable {
            Ok(()) => None,
            Err(Unusable::ProviderDisabled) => continue,
            Err(Unusable::UserKeyRequired) => Some("user_api_key_required"),
            Err(Unusable::Unknown | Unusable::Disabled | Unusable::MissingKey) => Some("missing_api_key"),
        };
        let of_provider = catalog.models().iter().filter(|m| m.provider.id() == entry.id() && m.is_offered());
        let models = of_provider.filter(|_| usable.is_ok()).map(|m| OfferedModel {
            id: format!("{name}:{}", m.record.model),
            provider: name,
            model: &m.record.model,
            display_name: m.display_name(),
        });
        let at = providers.iter().position(|p| p.provider == name).unwrap_or_else(|| {
            providers.push(OfferedProvider {
                provider: name,
                available: false,
                unavailable_reason: None,
                models: Vec::new(),
            });
            providers.len() - 1
        });
        let known = &mut providers[at];
        known.available |= usable.is_ok();
        known.unavailable_reason = known.unavailable_reason.or(reason).filter(|_| !known.available);
        known.models.extend(models);
    }
    Offer { providers }
}

/// A model configuration (api.md §2.11).
#[derive(Serialize, ToSchema)]
#[schema(as = ModelConfig)]
pub struct ModelOut<'a> {
    id: ModelConfigId,
    provider: &'a str,
    ai_provider_id: ProviderId,
    model: &'a str,
    display_name: &'a str,
    enabled: bool,
    is_default: bool,
    context_limit: i64,
    compression_threshold: i64,
    /// Left out when nothing is set.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(required = false)]
    model_config: Map<String, Value>,
    /// It is declared in the configuration of the server, and cannot be changed here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    declared: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// What the OpenAPI document says of it.
pub const CONFIGS: Doc = Doc::new("Model configurations").replies::<Vec<ModelOut<'static>>>();

/// All models for administrators, those that are offered for everybody else.
pub async fn configs(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    let catalog = state.catalog.current();
    let shown = catalog.models().iter().filter(|m| caller.user.is_admin() || m.is_offered());
    Ok(body::ok(&shown.map(|m| config(&catalog, m)).collect::<Result<Vec<_>>>()?))
}

fn config<'a>(catalog: &Catalog, model: &'a ModelEntry) -> Result<ModelOut<'a>> {
    let record = &model.record;
    Ok(ModelOut {
        id: record.id,
        provider: &model.provider.record.kind,
        ai_provider_id: record.provider_id,
        model: &record.model,
        display_name: model.display_name(),
        enabled: record.enabled,
        is_default: catalog.default_model().is_some_and(|d| d.id() == record.id),
        context_limit: record.context_limit,
        compression_threshold: record.compression_threshold,
        model_config: record.model_config.read().map_err(Problem::internal)?,
        declared: model.is_declared(),
        created_at: record.created_at,
        updated_at: record.updated_at,
    })
}

/// A model configuration as it is written.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ModelConfigRequest)]
pub struct ModelBody {
    /// Type of the provider. Required for a new one, unless `ai_provider_id` is given.
    provider: Option<String>,
    ai_provider_id: Option<ProviderId>,
    /// The provider's own name of the model. Required for a new one.
    model: Option<String>,
    display_name: Option<String>,
    enabled: Option<bool>,
    is_default: Option<bool>,
    /// Required for a new one; more than 0.
    context_limit: Option<i64>,
    /// 0 to 100.
    compression_threshold: Option<i64>,
    #[schema(value_type = Option<Object>)]
    model_config: Option<Map<String, Value>>,
}

impl ModelBody {
    fn provider<'a>(&self, catalog: &'a Catalog, caller: &Caller) -> Result<Option<&'a Arc<ProviderEntry>>> {
        if let Some(id) = self.ai_provider_id.filter(|id| !id.0.is_nil()) {
            let found =
                catalog.provider(id).ok_or_else(|| precondition("The AI provider does not exist."))?;
            return if found.record.enabled {
                Ok(Some(found))
            } else {
                Err(precondition("The AI provider is disabled."))
            };
        }
        let Some(name) = self.provider.as_deref().map(str::trim).filter(|p| !p.is_empty()) else {
            return Ok(None);
        };
        let kind = crate::llm::providers::lookup(name)
            .ok_or_else(|| Problem::field("provider", "There is no such type of provider."))?;
        match catalog.provider_of_kind(kind.name, caller.user.id) {
            Some(found) => Ok(Some(found)),
            None => Err(Problem::field(
                "provider",
                format!("{} is not configured. Add the provider first.", kind.display_name),
            )),
        }
    }

    /// Lays what is given over a record. Empty texts keep what was there.
    fn apply(self, record: &mut ModelRecord) -> Result<()> {
        let given = |field: &str, value: Option<String>| -> Result<Option<String>> {
            Ok(value.map(|v| text(field, &v)).transpose()?.filter(|v| !v.is_empty()))
        };
        if let Some(model) = given("model", self.model)? {
            record.model = model;
        }
        if let Some(name) = given("display_name", self.display_name)? {
            record.display_name = name;
        }
        record.enabled = self.enabled.unwrap_or(record.enabled);
        record.is_default = self.is_default.unwrap_or(record.is_default);
        if self.is_default == Some(true) && !record.enabled {
            return Err(Problem::field("is_default", "A disabled model cannot be the default."));
        }
        if let Some(limit) = self.context_limit {
            record.context_limit = limit;
        }
        if record.context_limit <= 0 {
            return Err(Problem::field("context_limit", "context_limit must be more than 0."));
        }
        if let Some(threshold) = self.compression_threshold {
            if !(0..=100).contains(&threshold) {
                return Err(Problem::field(
                    "compression_threshold",
                    "compression_threshold must be 0 to 100.",
                ));
            }
            record.compression_threshold = threshold;
        }
        if let Some(given) = self.model_config {
            let stored = model_config::normalise(&given).map_err(|w| {
                let detail = format!("{}: {}.", w.path, w.detail);
                Problem::field(w.path, detail)
            })?;
            let stored = Json::of(&stored);
            Prices::from_model_config(&stored).map_err(|e| {
                let detail = format!("{e}: expected a decimal from 0 to 1000000 with at most 12 places.");
                Problem::field("model_config.cost", detail)
            })?;
            record.model_config = stored;
        }
        Ok(())
    }
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Make a model configuration")
    .takes::<ModelBody>()
    .replies::<ModelOut<'static>>()
    .errors(&[400, 403, 409, 412, 413]);

/// Makes a model configuration.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    admin_only(&caller, "models")?;
    let body: ModelBody = body::parse(&body::read(&request, payload, body::SMALL_LIMIT).await?)?;
    let catalog = fresh(&state).await?;
    let provider = body
        .provider(&catalog, &caller)?
        .ok_or_else(|| Problem::field("provider", "provider is required."))?;
    if body.model.as_deref().is_none_or(|m| m.trim().is_empty()) {
        return Err(Problem::field("model", "model is required."));
    }
    let context_limit =
        body.context_limit.ok_or_else(|| Problem::field("context_limit", "context_limit is required."))?;
    let now = state.clock.now();
    let mut record = ModelRecord {
        id: ModelConfigId::fresh(),
        provider_id: provider.id(),
        name: None,
        model: String::new(),
        display_name: String::new(),
        enabled: true,
        is_default: false,
        context_limit,
        compression_threshold: if context_limit >= LARGE_CONTEXT {
            LARGE_THRESHOLD
        } else {
            DEFAULT_THRESHOLD
        },
        model_config: Json::of(&Map::<String, Value>::new()),
        source: Source::Api,
        created_at: now,
        updated_at: now,
    };
    body.apply(&mut record)?;
    let id = record.id;
    state.store.create_model(record).await.map_err(|e| write_error(e, "Provider"))?;
    answer(&state, id, StatusCode::CREATED).await
}

async fn answer(state: &ApiState, id: ModelConfigId, status: StatusCode) -> Result<HttpResponse> {
    let catalog = fresh(state).await?;
    let model = catalog.model(id).ok_or_else(|| Problem::not_found("Model config"))?;
    Ok(body::json(status, &config(&catalog, model)?))
}

/// The model of a path.
fn named<'a>(catalog: &'a Catalog, path: &str) -> Result<&'a Arc<ModelEntry>> {
    let id = path_id(path, "model config")?;
    catalog.model(id).ok_or_else(|| Problem::not_found("Model config"))
}

/// What the OpenAPI document says of it.
pub const CHANGE: Doc = Doc::new("Change a model configuration")
    .takes::<ModelBody>()
    .replies::<ModelOut<'static>>()
    .errors(&[400, 403, 404, 409, 412, 413]);

/// Changes a model configuration. Of a declared one only the default flag can be moved to it.
pub async fn change(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    admin_only(&caller, "models")?;
    let bytes = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let catalog = fresh(&state).await?;
    let model = named(&catalog, &path)?;
    let body: ModelBody = body::parse(&bytes)?;
    if model.is_declared() {
        let only_default = matches!(
            &body,
            ModelBody {
                provider: None,
                ai_provider_id: None,
                model: None,
                display_name: None,
                enabled: None,
                is_default: Some(true),
                context_limit: None,
                compression_threshold: None,
                model_config: None,
            }
        );
        if !only_default {
            return Err(declared("model", "models"));
        }
        if !model.record.enabled {
            return Err(Problem::field("is_default", "A disabled model cannot be the default."));
        }
        state.store.set_default_model(model.id()).await?;
        return answer(&state, model.id(), StatusCode::OK).await;
    }
    let mut record = model.record.clone();
    if let Some(provider) = body.provider(&catalog, &caller)?
        // The type alone says nothing new about a model that is of this type.
        && (body.ai_provider_id.is_some() || provider.record.kind != model.provider.record.kind)
    {
        record.provider_id = provider.id();
    }
    body.apply(&mut record)?;
    let seen = record.updated_at;
    record.updated_at = state.clock.now();
    state.store.change_model(record, seen).await.map_err(|e| write_error(e, "Model config"))?;
    answer(&state, model.id(), StatusCode::OK).await
}

/// What the OpenAPI document says of it.
pub const DELETE: Doc = Doc::new("Delete a model configuration; chats keep its id").errors(&[400, 403, 404]);

/// Deletes a model configuration.
pub async fn delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    admin_only(&caller, "models")?;
    let catalog = fresh(&state).await?;
    let model = named(&catalog, &path)?;
    if model.is_declared() {
        return Err(declared("model", "models"));
    }
    let deleted = state.store.delete_model(model.id(), state.clock.now()).await;
    deleted.map_err(|e| write_error(e, "Model config"))?;
    fresh(&state).await?;
    Ok(body::no_content())
}
