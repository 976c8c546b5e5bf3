//! Servers of tools: `/mcp/servers` (api.md §2.16). Everybody sees the enabled ones, administrators see and
//! change everything. Secrets go in only.

use super::{
    auth::Caller,
    body,
    doc::Doc,
    mcp_input::{self, CreateServer, PatchServer},
    problem::{Problem, Result},
    provider_input::declared,
    query::path_id,
    state::ApiState,
};
use crate::{
    clock::Timestamp,
    config::Secret,
    ids::{McpServerId, UserId},
    mcp::discovery::{self, Discovered},
    store::{
        self,
        records::{
            mcp::{McpAuthType, McpAvailability, McpSecrets, McpServerRecord, SecretChange},
            models::Source,
        },
    },
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use reqwest::Url;
use serde::Serialize;
use std::{collections::HashSet, time::Duration};
use utoipa::ToSchema;

/// Where these records live.
pub const PREFIX: &str = "/api/experimental/mcp/servers";

/// A server of tools. What tells where and how it is reached is empty for those who are no administrators.
#[derive(Serialize, ToSchema)]
#[schema(as = McpServer)]
pub struct ServerOut<'a> {
    id: McpServerId,
    display_name: &'a str,
    slug: &'a str,
    description: &'a str,
    icon_url: &'a str,
    /// `streamable_http` or `sse`; empty where it is hidden.
    transport: &'static str,
    url: &'a str,
    auth_type: McpAuthType,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth2_client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth2_auth_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth2_token_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth2_scopes: Option<&'a str>,
    has_oauth2_secret: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_header: Option<&'a str>,
    has_api_key: bool,
    has_custom_headers: bool,
    tool_allow_list: &'a [String],
    tool_deny_list: &'a [String],
    availability: McpAvailability,
    enabled: bool,
    model_intent: bool,
    allow_in_plan_mode: bool,
    forward_coder_headers: bool,
    /// It is declared in the configuration of the server, and cannot be changed here.
    declared: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    auth_connected: bool,
}

impl<'a> ServerOut<'a> {
    fn new(server: &'a McpServerRecord, is_admin: bool, has_token: bool) -> Self {
        let shown = |text: &'a Option<String>| text.as_deref().filter(|t| is_admin && !t.is_empty());
        Self {
            id: server.id,
            display_name: &server.display_name,
            slug: &server.slug,
            description: &server.description,
            icon_url: &server.icon_url,
            // Keys that are always there are empty where they are hidden.
            transport: if is_admin { server.transport.as_str() } else { "" },
            url: if is_admin { &server.url } else { "" },
            auth_type: server.auth_type,
            oauth2_client_id: shown(&server.oauth2_client_id),
            oauth2_auth_url: shown(&server.oauth2_auth_url),
            oauth2_token_url: shown(&server.oauth2_token_url),
            oauth2_scopes: shown(&server.oauth2_scopes),
            has_oauth2_secret: server.sealed.client_secret.is_some(),
            api_key_header: shown(&server.api_key_header),
            has_api_key: server.sealed.api_key.is_some(),
            has_custom_headers: server.sealed.custom_headers.is_some(),
            tool_allow_list: &server.tool_allow_list,
            tool_deny_list: &server.tool_deny_list,
            availability: server.availability,
            enabled: server.enabled,
            model_intent: server.model_intent,
            allow_in_plan_mode: server.allow_in_plan_mode,
            forward_coder_headers: server.forward_coder_headers,
            declared: server.source == Source::Config,
            created_at: server.created_at,
            updated_at: server.updated_at,
            auth_connected: server.auth_type != McpAuthType::Oauth2 || has_token,
        }
    }
}

/// Reads the id of a path.
///
/// # Errors
/// 400 when it is no UUID.
pub fn server_id(text: &str) -> Result<McpServerId> {
    path_id(text, "MCP server")
}

/// A store error where "not found" means that the server is missing.
pub fn missing(e: store::Error) -> Problem {
    match e {
        store::Error::Stale => {
            Problem::conflict("The MCP server was changed by somebody else at the same time. Try again.")
        }
        e => Problem::of_store(e, "MCP server"),
    }
}

fn is_admin(caller: &Caller) -> bool {
    caller.require_admin(|| Problem::forbidden("")).is_ok()
}

/// A server that the caller may see.
///
/// # Errors
/// 400, 404.
pub async fn visible(state: &ApiState, caller: &Caller, id: &str) -> Result<McpServerRecord> {
    let server = state.store.mcp_server(server_id(id)?).await.map_err(missing)?;
    if server.enabled || is_admin(caller) { Ok(server) } else { Err(Problem::not_found("MCP server")) }
}

async fn connected(state: &ApiState, user: UserId) -> Result<HashSet<McpServerId>> {
    let (tokens, now) = (state.store.mcp_tokens(user).await?, state.clock.now());
    Ok(tokens.iter().filter(|t| t.is_usable(now)).map(|t| t.server_id).collect())
}

async fn answer(
    state: &ApiState,
    caller: &Caller,
    status: StatusCode,
    server: &McpServerRecord,
) -> Result<HttpResponse> {
    let connected = connected(state, caller.user.id).await?;
    Ok(body::json(status, &ServerOut::new(server, is_admin(caller), connected.contains(&server.id))))
}

fn admin_only(caller: &Caller) -> Result<()> {
    caller.require_admin(|| Problem::forbidden("Only administrators may change MCP servers."))
}

fn not_declared(server: &McpServerRecord) -> Result<()> {
    match server.source {
        Source::Api => Ok(()),
        Source::Config => Err(declared("MCP server", "mcp_servers")),
    }
}

/// What the OpenAPI document says of it.
pub const LIST: Doc =
    Doc::new("Servers of tools: all for administrators, the enabled ones for everybody else")
        .replies::<Vec<ServerOut<'static>>>();

/// The servers by name.
pub async fn list(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    let servers = state.store.mcp_servers().await?;
    let connected = connected(&state, caller.user.id).await?;
    let admin = is_admin(&caller);
    let shown = servers.iter().filter(|s| admin || s.enabled);
    let out: Vec<_> = shown.map(|s| ServerOut::new(s, admin, connected.contains(&s.id))).collect();
    Ok(body::ok(&out))
}

/// What the OpenAPI document says of it.
pub const GET: Doc = Doc::new("A server of tools").replies::<ServerOut<'static>>().errors(&[400, 404]);

/// One server.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let server = visible(&state, &caller, &path).await?;
    answer(&state, &caller, StatusCode::OK, &server).await
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Add a server of tools")
    .takes::<CreateServer>()
    .replies::<ServerOut<'static>>()
    .errors(&[400, 403, 409, 413]);

/// Makes a server.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    admin_only(&caller)?;
    let bytes = body::read(&request, payload, state.settings.max_body).await?;
    let (mut server, mut secrets) = mcp_input::created(body::parse(&bytes)?, state.clock.now())?;
    // A name that is taken is told before another server is troubled.
    if state.store.mcp_servers().await?.iter().any(|s| s.slug == server.slug) {
        return Err(missing(store::Error::Duplicate("an MCP server with this slug")));
    }
    discover_client(&state, &mut server, &mut secrets).await?;
    let made = state.store.create_mcp_server(server, secrets).await.map_err(missing)?;
    state.mcp_servers.forget();
    answer(&state, &caller, StatusCode::CREATED, &made).await
}

/// What the OpenAPI document says of it.
pub const CHANGE: Doc = Doc::new("Change a server of tools; a missing key keeps")
    .takes::<PatchServer>()
    .replies::<ServerOut<'static>>()
    .errors(&[400, 403, 404, 409, 413]);

/// Changes a server.
pub async fn change(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    admin_only(&caller)?;
    let id = server_id(&path)?;
    let before = state.store.mcp_server(id).await.map_err(missing)?;
    let bytes = body::read(&request, payload, state.settings.max_body).await?;
    let patch: PatchServer = body::parse(&bytes)?;
    not_declared(&before)?;
    let (mut server, mut secrets) = mcp_input::patched(&before, patch)?;
    discover_client(&state, &mut server, &mut secrets).await?;
    server.updated_at = state.clock.now().max(before.updated_at + Duration::from_micros(1));
    let drop_tokens = mcp_input::tokens_are_void(&before, &server, &secrets);
    let seen = before.updated_at;
    let done = state.store.change_mcp_server(server, secrets, seen, drop_tokens).await.map_err(missing)?;
    state.mcp_servers.forget();
    answer(&state, &caller, StatusCode::OK, &done).await
}

/// What the OpenAPI document says of it.
pub const DELETE: Doc = Doc::new("Remove a server of tools").errors(&[400, 403, 404]);

/// Removes a server with the tokens of its users.
pub async fn delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    admin_only(&caller)?;
    let id = server_id(&path)?;
    not_declared(&state.store.mcp_server(id).await.map_err(missing)?)?;
    state.store.delete_mcp_server(id).await.map_err(missing)?;
    state.mcp_servers.forget();
    Ok(body::no_content())
}

/// Where the authorization server sends the browser back to.
pub fn callback_path(id: McpServerId) -> String {
    format!("{PREFIX}/{id}/oauth2/callback")
}

/// The same as an address.
pub fn callback_url(state: &ApiState, id: McpServerId) -> String {
    format!("{}{}", state.settings.public_url.trim_end_matches('/'), callback_path(id))
}

/// Completes the record of an OAuth server that has neither client nor addresses.
async fn discover_client(
    state: &ApiState,
    server: &mut McpServerRecord,
    secrets: &mut McpSecrets,
) -> Result<()> {
    if let Some(secret) = discovered(state, server).await? {
        secrets.client_secret = secret.map_or(SecretChange::Clear, SecretChange::Set);
    }
    Ok(())
}

/// Finds out and registers the client of an OAuth server that has none; answers its secret then.
///
/// # Errors
/// 400 that says what is missing.
pub async fn discovered(state: &ApiState, server: &mut McpServerRecord) -> Result<Option<Option<Secret>>> {
    if server.auth_type != McpAuthType::Oauth2 || server.oauth_fields().iter().any(|(_, given)| *given) {
        return Ok(None);
    }
    let url =
        Url::parse(&server.url).map_err(|_| Problem::field("url", "url must be an http or https URL."))?;
    let redirect = callback_url(state, server.id);
    let found = discovery::discover(&state.outbound, &url, &redirect, server.oauth2_scopes.as_deref()).await;
    let Discovered { client_id, client_secret, auth_url, token_url, scopes } = found.map_err(|e| {
        Problem::bad_request("The OAuth client could not be discovered.")
            .detail(format!("{e}. Give oauth2_client_id, oauth2_auth_url and oauth2_token_url instead."))
    })?;
    server.oauth2_client_id = Some(client_id);
    server.oauth2_auth_url = Some(auth_url);
    server.oauth2_token_url = Some(token_url);
    server.oauth2_scopes = scopes;
    server.oauth2_discovered = true;
    Ok(Some(client_secret))
}
