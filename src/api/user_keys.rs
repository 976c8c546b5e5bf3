//! Keys that users bring for providers: `/api/v2/users/{user}/ai-provider-keys`, and
//! `/chats/user-provider-configs` as older clients know it (api.md §2.12).

use super::{
    ai_providers,
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    provider_input::{fresh, key, precondition, unrepeated, write_error},
    providers,
    state::ApiState,
    users,
};
use crate::{
    config::Secret,
    ids::{ProviderId, UserId},
    llm::catalog::{Catalog, ProviderEntry},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A key on its way in.
#[derive(Deserialize, ToSchema)]
#[schema(as = UserApiKeyRequest)]
pub struct KeyBody {
    /// At most 10,240 bytes.
    #[serde(default, deserialize_with = "unrepeated")]
    api_key: String,
}

/// A provider that takes keys of users, as the caller has it.
#[derive(Serialize, ToSchema)]
#[schema(as = UserProviderConfig)]
pub struct UserProviderOut<'a> {
    provider_id: ProviderId,
    provider: &'a str,
    display_name: &'a str,
    icon: &'a str,
    enabled: bool,
    has_user_api_key: bool,
    has_central_api_key_fallback: bool,
    byok_enabled: bool,
}

fn legacy(entry: &ProviderEntry, user: UserId) -> UserProviderOut<'_> {
    UserProviderOut {
        provider_id: entry.id(),
        provider: &entry.record.kind,
        display_name: &entry.record.display_name,
        icon: &entry.record.icon,
        enabled: entry.record.enabled,
        has_user_api_key: entry.has_user_key(user),
        has_central_api_key_fallback: entry.central_serves(),
        byok_enabled: entry.byok,
    }
}

/// What the OpenAPI document says of it.
pub const LEGACY_LIST: Doc =
    Doc::new("Providers that take the caller's own key").replies::<Vec<UserProviderOut<'static>>>();

/// Every provider that takes keys of users.
pub async fn legacy_list(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    let catalog = state.catalog.current();
    let shown = catalog.providers().iter().filter(|p| p.byok);
    Ok(body::ok(&shown.map(|p| legacy(p, caller.user.id)).collect::<Vec<_>>()))
}

/// What the OpenAPI document says of it.
pub const LEGACY_PUT: Doc = Doc::new("Store the caller's own key for a provider")
    .takes::<KeyBody>()
    .replies::<UserProviderOut<'static>>()
    .errors(&[400, 404, 413]);

/// Stores the caller's key.
pub async fn legacy_put(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let bytes = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let catalog = fresh(&state).await?;
    let provider = providers::named(&catalog, &path)?;
    let body: KeyBody = body::parse(&bytes)?;
    if !provider.record.enabled {
        return Err(Problem::bad_request("The provider is disabled."));
    }
    if !provider.byok {
        return Err(Problem::bad_request("The provider takes no keys of users."));
    }
    let catalog = store_key(&state, caller.user.id, provider, body).await?;
    let provider = catalog.provider(provider.id()).ok_or_else(|| Problem::not_found("Provider"))?;
    Ok(body::ok(&legacy(provider, caller.user.id)))
}

async fn store_key(
    state: &ApiState,
    user: UserId,
    provider: &ProviderEntry,
    body: KeyBody,
) -> Result<std::sync::Arc<Catalog>> {
    let new = key("api_key", &Secret::new(body.api_key))?;
    let stored = state.store.put_user_key(user, provider.id(), new.secret, state.clock.now()).await;
    stored.map_err(|e| write_error(e, "Provider"))?;
    fresh(state).await
}

/// What the OpenAPI document says of it.
pub const LEGACY_DELETE: Doc = Doc::new("Remove the caller's own key for a provider").errors(&[400, 404]);

/// Removes the caller's key, if there is one.
pub async fn legacy_delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let catalog = fresh(&state).await?;
    let provider = providers::named(&catalog, &path)?;
    remove(&state, caller.user.id, provider).await
}

async fn remove(state: &ApiState, user: UserId, provider: &ProviderEntry) -> Result<HttpResponse> {
    state.store.delete_user_key(user, provider.id()).await?;
    fresh(state).await?;
    Ok(body::no_content())
}

/// A provider, and which keys there are for a user.
#[derive(Serialize, ToSchema)]
#[schema(as = UserAiProviderKey)]
pub struct EntryOut<'a> {
    provider: EntryProvider<'a>,
    has_user_api_key: bool,
    has_provider_api_key: bool,
    byok_enabled: bool,
}

/// The provider of such an entry.
#[derive(Serialize, ToSchema)]
#[schema(as = UserAiProvider)]
pub struct EntryProvider<'a> {
    id: ProviderId,
    #[serde(rename = "type")]
    kind: &'a str,
    name: &'a str,
    display_name: &'a str,
    icon: &'a str,
    enabled: bool,
    deleted: bool,
}

fn entry(provider: &ProviderEntry, user: UserId) -> EntryOut<'_> {
    let record = &provider.record;
    EntryOut {
        provider: EntryProvider {
            id: record.id,
            kind: &record.kind,
            name: &record.name,
            display_name: &record.display_name,
            icon: &record.icon,
            enabled: record.enabled,
            deleted: false,
        },
        has_user_api_key: provider.has_user_key(user),
        has_provider_api_key: provider.has_central_key(),
        byok_enabled: provider.byok,
    }
}

/// What the OpenAPI document says of it.
pub const LIST: Doc = Doc::new("Providers, and which keys there are for a user")
    .replies::<Vec<EntryOut<'static>>>()
    .errors(&[400, 404]);

/// Every provider that is called with a key, as a user has it.
pub async fn list(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let user = users::user(&state, &caller, &path).await?;
    let catalog = state.catalog.current();
    let shown = catalog.providers().iter().filter(|p| p.takes_keys());
    Ok(body::ok(&shown.map(|p| entry(p, user.id)).collect::<Vec<_>>()))
}

/// What the OpenAPI document says of it.
pub const PUT: Doc = Doc::new("Store a user's own key for a provider, by id or name")
    .takes::<KeyBody>()
    .replies::<EntryOut<'static>>()
    .errors(&[400, 403, 404, 412, 413]);

/// Stores a user's key.
pub async fn put(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let (user, provider) = path.into_inner();
    let bytes = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let user = users::user(&state, &caller, &user).await?;
    let catalog = fresh(&state).await?;
    if !catalog.allows_user_keys() {
        return Err(Problem::forbidden("This server takes no keys of users.")
            .detail("secrets.allow_user_api_keys is false in its configuration."));
    }
    let provider = ai_providers::named(&catalog, &provider)?;
    let body: KeyBody = body::parse(&bytes)?;
    if !provider.record.enabled {
        return Err(precondition("The AI provider is disabled."));
    }
    if !provider.byok {
        return Err(Problem::forbidden("The AI provider takes no keys of users."));
    }
    let catalog = store_key(&state, user.id, provider, body).await?;
    let provider = catalog.provider(provider.id()).ok_or_else(|| Problem::not_found("AI provider"))?;
    Ok(body::ok(&entry(provider, user.id)))
}

/// What the OpenAPI document says of it.
pub const DELETE: Doc = Doc::new("Remove a user's own key for a provider, by id or name").errors(&[400, 404]);

/// Removes a user's key, if there is one.
pub async fn delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    let (user, provider) = path.into_inner();
    let user = users::user(&state, &caller, &user).await?;
    let catalog = fresh(&state).await?;
    remove(&state, user.id, ai_providers::named(&catalog, &provider)?).await
}
