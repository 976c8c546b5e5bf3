//! `/chats/providers`: providers as older clients manage them, one of a type (api.md §2.12).

use super::{
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    provider_input::{admin_only, base_url, declared, fresh, key, kind, text, unrepeated, write_error},
    query::path_id,
    state::ApiState,
};
use crate::{
    clock::Timestamp,
    config::Secret,
    ids::ProviderId,
    llm::{
        catalog::{Catalog, ProviderEntry},
        providers::{PROVIDERS, Provider, SCRIPTED},
    },
    store::records::models::{ProviderRecord, Removal, Source, WantedKey},
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// A provider (api.md §2.12). Its key is never shown.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Provider)]
pub struct ProviderOut<'a> {
    id: ProviderId,
    provider: &'a str,
    display_name: &'a str,
    icon: &'a str,
    enabled: bool,
    has_api_key: bool,
    central_api_key_enabled: bool,
    allow_user_api_key: bool,
    allow_central_api_key_fallback: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<&'a str>,
    /// `database`, `env_preset` (declared by whoever runs the server) or `supported`.
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
}

/// What the OpenAPI document says of it.
pub const LIST: Doc =
    Doc::new("Configured and supported providers").replies::<Vec<ProviderOut<'static>>>().errors(&[404]);

/// Every provider, and every type of which there is none.
pub async fn list(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    caller.require_admin(|| Problem::not_found("Resource"))?;
    Ok(body::ok(&all(&state.catalog.current())))
}

fn all(catalog: &Catalog) -> Vec<ProviderOut<'_>> {
    let mut all: Vec<_> = catalog.providers().iter().map(|p| out(p)).collect();
    for kind in PROVIDERS.iter().filter(|p| p.format.is_some() && p.name != SCRIPTED) {
        if !all.iter().any(|p| p.provider == kind.name) {
            all.push(ProviderOut {
                id: ProviderId(Uuid::nil()),
                provider: kind.name,
                display_name: kind.display_name,
                icon: "",
                enabled: false,
                has_api_key: false,
                central_api_key_enabled: false,
                allow_user_api_key: false,
                allow_central_api_key_fallback: false,
                base_url: None,
                source: "supported",
                created_at: None,
                updated_at: None,
            });
        }
    }
    all
}

fn out(entry: &ProviderEntry) -> ProviderOut<'_> {
    let record = &entry.record;
    let stored = !entry.is_declared();
    ProviderOut {
        id: record.id,
        provider: &record.kind,
        display_name: &record.display_name,
        icon: &record.icon,
        enabled: record.enabled,
        has_api_key: entry.has_central_key(),
        central_api_key_enabled: record.central_api_key_enabled,
        allow_user_api_key: record.allow_user_api_key,
        allow_central_api_key_fallback: record.allow_central_api_key_fallback,
        base_url: record.base_url.as_deref(),
        source: if stored { "database" } else { "env_preset" },
        created_at: stored.then_some(record.created_at),
        updated_at: stored.then_some(record.updated_at),
    }
}

/// A provider as it is written.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ProviderRequest)]
pub struct ProviderBody {
    /// Its type. Required for a new one.
    provider: Option<String>,
    display_name: Option<String>,
    /// At most 10,240 bytes. Empty removes the key.
    #[serde(default, deserialize_with = "unrepeated")]
    api_key: Option<String>,
    base_url: Option<String>,
    enabled: Option<bool>,
    central_api_key_enabled: Option<bool>,
    allow_user_api_key: Option<bool>,
    allow_central_api_key_fallback: Option<bool>,
}

/// What becomes of the keys.
type Keys = Option<Vec<WantedKey>>;

impl ProviderBody {
    /// Lays what is given over a record, and checks the rules between the flags.
    fn apply(self, kind: &Provider, record: &mut ProviderRecord, had_key: bool) -> Result<Keys> {
        if let Some(name) = self.display_name.map(|n| text("display_name", &n)).transpose()?
            && !name.is_empty()
        {
            record.display_name = name;
        }
        if self.base_url.is_some() || record.base_url.is_none() {
            record.base_url = base_url(kind, self.base_url.as_deref())?;
        }
        let set = |flag: &mut bool, given: Option<bool>| *flag = given.unwrap_or(*flag);
        set(&mut record.enabled, self.enabled);
        set(&mut record.central_api_key_enabled, self.central_api_key_enabled);
        set(&mut record.allow_user_api_key, self.allow_user_api_key);
        set(&mut record.allow_central_api_key_fallback, self.allow_central_api_key_fallback);
        let keys = match self.api_key.map(Secret::new) {
            None => None,
            Some(empty) if empty.expose().trim().is_empty() => Some(Vec::new()),
            Some(given) => Some(vec![WantedKey::Add(key("api_key", &given)?)]),
        };
        let has_key = keys.as_ref().map_or(had_key, |keys| !keys.is_empty());
        let (central, user) = (record.central_api_key_enabled, record.allow_user_api_key);
        if central && kind.key_required && !has_key {
            let why = "api_key is required while central_api_key_enabled is true.";
            return Err(Problem::field("api_key", why));
        }
        if !central && !user {
            let why = "Enable central_api_key_enabled or allow_user_api_key.";
            return Err(Problem::field("allow_user_api_key", why));
        }
        if record.allow_central_api_key_fallback && !(central && user) {
            let why = "It needs both central_api_key_enabled and allow_user_api_key.";
            return Err(Problem::field("allow_central_api_key_fallback", why));
        }
        Ok(keys)
    }
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Add a provider")
    .takes::<ProviderBody>()
    .replies::<ProviderOut<'static>>()
    .errors(&[400, 403, 409, 413]);

/// Adds the provider of a type.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    admin_only(&caller, "providers")?;
    let body: ProviderBody = body::parse(&body::read(&request, payload, body::SMALL_LIMIT).await?)?;
    let kind = kind("provider", body.provider.as_deref().unwrap_or_default())?;
    let now = state.clock.now();
    let mut record = ProviderRecord {
        id: ProviderId::fresh(),
        kind: kind.name.into(),
        name: kind.name.into(),
        display_name: kind.display_name.into(),
        icon: String::new(),
        enabled: true,
        base_url: None,
        central_api_key_enabled: true,
        allow_user_api_key: false,
        allow_central_api_key_fallback: false,
        source: Source::Api,
        created_at: now,
        updated_at: now,
    };
    let keys = body.apply(kind, &mut record, false)?;
    let new = keys.into_iter().flatten().filter_map(|k| match k {
        WantedKey::Add(key) => Some(key),
        WantedKey::Keep(_) => None,
    });
    let id = record.id;
    state.store.create_provider(record, new.collect(), true).await?;
    answer(&state, id, StatusCode::CREATED).await
}

async fn answer(state: &ApiState, id: ProviderId, status: StatusCode) -> Result<HttpResponse> {
    let catalog = fresh(state).await?;
    let provider = catalog.provider(id).ok_or_else(|| Problem::not_found("Provider"))?;
    Ok(body::json(status, &out(provider)))
}

/// The provider of a path.
///
/// # Errors
/// 400 for something that is no id, 404.
pub fn named<'a>(catalog: &'a Catalog, path: &str) -> Result<&'a Arc<ProviderEntry>> {
    let id = path_id(path, "provider")?;
    catalog.provider(id).ok_or_else(|| Problem::not_found("Provider"))
}

/// What the OpenAPI document says of it.
pub const CHANGE: Doc = Doc::new("Change a provider")
    .takes::<ProviderBody>()
    .replies::<ProviderOut<'static>>()
    .errors(&[400, 403, 404, 409, 413]);

/// Changes a provider.
pub async fn change(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    admin_only(&caller, "providers")?;
    let bytes = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let catalog = fresh(&state).await?;
    let provider = named(&catalog, &path)?;
    if provider.is_declared() {
        return Err(declared("provider", "providers"));
    }
    let body: ProviderBody = body::parse(&bytes)?;
    let kind = kind("provider", &provider.record.kind)?;
    let mut record = provider.record.clone();
    let keys = body.apply(kind, &mut record, !provider.keys.is_empty())?;
    let seen = record.updated_at;
    record.updated_at = state.clock.now();
    state.store.change_provider(record, seen, keys).await.map_err(|e| write_error(e, "Provider"))?;
    answer(&state, provider.id(), StatusCode::OK).await
}

/// What the OpenAPI document says of it.
pub const DELETE: Doc = Doc::new("Delete a provider and its keys").errors(&[400, 403, 404]);

/// Deletes a provider.
pub async fn delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    admin_only(&caller, "providers")?;
    let catalog = fresh(&state).await?;
    remove(&state, named(&catalog, &path)?).await
}

/// Deletes a provider that nothing refers to.
///
/// # Errors
/// 403 for a declared one, 400 while models refer to it.
pub async fn remove(state: &ApiState, provider: &ProviderEntry) -> Result<HttpResponse> {
    if provider.is_declared() {
        return Err(declared("provider", "providers"));
    }
    let done = state.store.delete_provider(provider.id(), state.clock.now()).await;
    if done.map_err(|e| write_error(e, "Provider"))? == Removal::InUse {
        return Err(Problem::bad_request("The provider is in use.")
            .detail("Model configs refer to it. Delete them or move them to another provider first."));
    }
    fresh(state).await?;
    Ok(body::no_content())
}
