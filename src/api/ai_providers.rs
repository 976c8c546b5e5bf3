//! `/api/v2/ai/providers`: any number of providers of a type, each with any number of keys (api.md §2.12).

use super::{
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    provider_input::{admin_only, base_url, declared, fresh, key, kind, text, unrepeated, write_error},
    providers::remove,
    query::uuid,
    state::ApiState,
};
use crate::{
    clock::Timestamp,
    config::Secret,
    ids::ProviderId,
    llm::catalog::{Catalog, ProviderEntry},
    store::records::models::{NewKey, ProviderRecord, Source, WantedKey},
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Most keys of one provider.
const MAX_KEYS: usize = 50;

/// A provider (api.md §2.12).
#[derive(Serialize, ToSchema)]
#[schema(as = AiProvider)]
pub struct AiProviderOut<'a> {
    id: ProviderId,
    #[serde(rename = "type")]
    kind: &'a str,
    name: &'a str,
    display_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(required = false)]
    icon: &'a str,
    enabled: bool,
    base_url: &'a str,
    api_keys: Vec<AiKeyOut<'a>>,
    /// Always null: no supported type has any.
    #[schema(value_type = Option<Object>)]
    settings: Value,
    /// It is declared in the configuration of the server, which may hold its key, and cannot be changed here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    declared: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A key with all but its end masked.
#[derive(Serialize, ToSchema)]
#[schema(as = AiProviderKey)]
pub struct AiKeyOut<'a> {
    #[schema(value_type = String)]
    id: Uuid,
    masked: &'a str,
    created_at: Timestamp,
}

fn out(entry: &ProviderEntry) -> AiProviderOut<'_> {
    let record = &entry.record;
    let keys = entry.keys.iter();
    AiProviderOut {
        id: record.id,
        kind: &record.kind,
        name: &record.name,
        display_name: &record.display_name,
        icon: &record.icon,
        enabled: record.enabled,
        base_url: record.base_url.as_deref().unwrap_or_default(),
        api_keys: keys.map(|k| AiKeyOut { id: k.id, masked: &k.hint, created_at: k.created_at }).collect(),
        settings: Value::Null,
        declared: entry.is_declared(),
        created_at: record.created_at,
        updated_at: record.updated_at,
    }
}

/// The provider of a path: an id or a name.
///
/// # Errors
/// 404.
pub fn named<'a>(catalog: &'a Catalog, path: &str) -> Result<&'a Arc<ProviderEntry>> {
    let by_id = uuid(path).and_then(|id| catalog.provider(id));
    by_id.or_else(|| catalog.provider_named(path)).ok_or_else(|| Problem::not_found("AI provider"))
}

fn readers_only(caller: &Caller) -> Result<()> {
    caller.require_admin(|| Problem::not_found("Resource"))
}

/// What the OpenAPI document says of it.
pub const LIST: Doc = Doc::new("AI providers").replies::<Vec<AiProviderOut<'static>>>().errors(&[404]);

/// Every provider.
pub async fn list(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    readers_only(&caller)?;
    let catalog = state.catalog.current();
    Ok(body::ok(&catalog.providers().iter().map(|p| out(p)).collect::<Vec<_>>()))
}

/// What the OpenAPI document says of it.
pub const GET: Doc =
    Doc::new("An AI provider, by id or name").replies::<AiProviderOut<'static>>().errors(&[400, 404]);

/// One provider.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    readers_only(&caller)?;
    let catalog = state.catalog.current();
    Ok(body::ok(&out(named(&catalog, &path)?)))
}

/// A new provider.
#[derive(Deserialize, ToSchema)]
#[schema(as = CreateAiProviderRequest)]
pub struct CreateBody {
    #[serde(rename = "type", default)]
    kind: String,
    /// Lower-case letters and digits with single dashes between.
    #[serde(default)]
    name: String,
    display_name: Option<String>,
    icon: Option<String>,
    enabled: Option<bool>,
    base_url: Option<String>,
    #[serde(default, deserialize_with = "unrepeated")]
    api_keys: Option<Vec<String>>,
    #[schema(value_type = Option<Object>)]
    settings: Option<Value>,
}

/// What is to be changed of a provider.
#[derive(Deserialize, ToSchema)]
#[schema(as = UpdateAiProviderRequest)]
pub struct UpdateBody {
    name: Option<String>,
    display_name: Option<String>,
    icon: Option<String>,
    enabled: Option<bool>,
    base_url: Option<String>,
    /// The full wanted list; missing keeps all.
    #[serde(default, deserialize_with = "unrepeated")]
    api_keys: Option<Vec<WantedBody>>,
    #[schema(value_type = Option<Object>)]
    settings: Option<Value>,
}

/// A key that stays (`id`), or a new one (`api_key`).
#[derive(Deserialize, ToSchema)]
#[schema(as = AiProviderKeyRequest)]
pub struct WantedBody {
    #[schema(value_type = Option<String>)]
    id: Option<Uuid>,
    api_key: Option<String>,
}

/// `^[a-z0-9]+(-[a-z0-9]+)*$`
fn checked_name(name: &str) -> Result<String> {
    let name = text("name", name)?;
    let word =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if name.split('-').all(word) {
        Ok(name)
    } else {
        let why = "name must be lower-case letters and digits with single dashes between.";
        Err(Problem::field("name", why))
    }
}

fn no_settings(settings: Option<&Value>) -> Result<()> {
    match settings {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(Problem::field("settings", "Providers of this type have no settings.")),
    }
}

fn few(n: usize) -> Result<()> {
    if n <= MAX_KEYS {
        Ok(())
    } else {
        Err(Problem::field("api_keys", format!("At most {MAX_KEYS} keys are allowed.")))
    }
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Add an AI provider")
    .takes::<CreateBody>()
    .replies::<AiProviderOut<'static>>()
    .errors(&[400, 403, 409, 413]);

/// Adds a provider. Users may bring keys of their own, and the central one serves the others.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    admin_only(&caller, "AI providers")?;
    let body: CreateBody = body::parse(&body::read(&request, payload, state.settings.max_body).await?)?;
    let kind = kind("type", &body.kind)?;
    no_settings(body.settings.as_ref())?;
    let given = body.api_keys.unwrap_or_default();
    few(given.len())?;
    let keys: Vec<NewKey> = given
        .into_iter()
        .enumerate()
        .map(|(n, k)| key(&format!("api_keys[{n}]"), &Secret::new(k)))
        .collect::<Result<_>>()?;
    let name = checked_name(&body.name)?;
    let display_name = text("display_name", body.display_name.as_deref().unwrap_or_default())?;
    let now = state.clock.now();
    let record = ProviderRecord {
        id: ProviderId::fresh(),
        kind: kind.name.into(),
        display_name: if display_name.is_empty() { kind.display_name.into() } else { display_name },
        name,
        icon: text("icon", body.icon.as_deref().unwrap_or_default())?,
        enabled: body.enabled.unwrap_or(true),
        base_url: base_url(kind, body.base_url.as_deref())?,
        central_api_key_enabled: true,
        allow_user_api_key: true,
        allow_central_api_key_fallback: true,
        source: Source::Api,
        created_at: now,
        updated_at: now,
    };
    let id = record.id;
    state.store.create_provider(record, keys, false).await?;
    answer(&state, id, StatusCode::CREATED).await
}

async fn answer(state: &ApiState, id: ProviderId, status: StatusCode) -> Result<HttpResponse> {
    let catalog = fresh(state).await?;
    let provider = catalog.provider(id).ok_or_else(|| Problem::not_found("AI provider"))?;
    Ok(body::json(status, &out(provider)))
}

/// What the OpenAPI document says of it.
pub const CHANGE: Doc = Doc::new("Change an AI provider")
    .takes::<UpdateBody>()
    .replies::<AiProviderOut<'static>>()
    .errors(&[400, 403, 404, 409, 413]);

/// Changes a provider.
pub async fn change(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    admin_only(&caller, "AI providers")?;
    let bytes = body::read(&request, payload, state.settings.max_body).await?;
    let catalog = fresh(&state).await?;
    let provider = named(&catalog, &path)?;
    if provider.is_declared() {
        return Err(declared("provider", "providers"));
    }
    let body: UpdateBody = body::parse(&bytes)?;
    no_settings(body.settings.as_ref())?;
    let kind = kind("type", &provider.record.kind)?;
    let mut record = provider.record.clone();
    if let Some(name) = &body.name {
        record.name = checked_name(name)?;
    }
    if let Some(name) = body.display_name.map(|n| text("display_name", &n)).transpose()?
        && !name.is_empty()
    {
        record.display_name = name;
    }
    if let Some(icon) = &body.icon {
        record.icon = text("icon", icon)?;
    }
    record.enabled = body.enabled.unwrap_or(record.enabled);
    if body.base_url.is_some() {
        record.base_url = base_url(kind, body.base_url.as_deref())?;
    }
    let wanted = body.api_keys.map(|keys| wanted_keys(provider, keys)).transpose()?;
    let seen = record.updated_at;
    record.updated_at = state.clock.now();
    state.store.change_provider(record, seen, wanted).await.map_err(|e| write_error(e, "AI provider"))?;
    answer(&state, provider.id(), StatusCode::OK).await
}

fn wanted_keys(provider: &ProviderEntry, keys: Vec<WantedBody>) -> Result<Vec<WantedKey>> {
    few(keys.len())?;
    let one = |(n, wanted): (usize, WantedBody)| {
        let field = format!("api_keys[{n}]");
        match (wanted.id, wanted.api_key) {
            (Some(id), None) if provider.keys.iter().any(|k| k.id == id) => Ok(WantedKey::Keep(id)),
            (Some(_), None) => Err(Problem::field(field, "The provider has no key of this id.")),
            (None, Some(text)) => key(&format!("{field}.api_key"), &Secret::new(text)).map(WantedKey::Add),
            _ => Err(Problem::field(field, "Give either id or api_key.")),
        }
    };
    keys.into_iter().enumerate().map(one).collect()
}

/// What the OpenAPI document says of it.
pub const DELETE: Doc = Doc::new("Delete an AI provider and every key for it").errors(&[400, 403, 404]);

/// Deletes a provider that no model refers to.
pub async fn delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    admin_only(&caller, "AI providers")?;
    let catalog = fresh(&state).await?;
    remove(&state, named(&catalog, &path)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case() {
        for good in ["a", "a1-b2", "0"] {
            assert!(checked_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-", "a-", "-a", "a--b", "A", "a_b", "ä", "a b"] {
            assert!(checked_name(bad).is_err(), "{bad}");
        }
    }
}
