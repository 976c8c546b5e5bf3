//! How a user lets chatd speak to a tool server in their name (api.md §2.16): a window that goes to the
//! authorization server, comes back with a code, and closes.

use super::{
    auth::{self, Caller},
    body,
    doc::{Doc, Param, ParamKind, Reply},
    mcp_servers::{callback_path, callback_url, discovered, missing, server_id, visible},
    problem::{Problem, Result},
    query::Query,
    state::ApiState,
};
use crate::{
    ids::McpServerId,
    mcp::{
        oauth::{OauthError, random_text},
        tokens,
    },
    store::{
        self,
        records::mcp::{McpAuthType, McpGrant, McpServerRecord},
    },
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use serde_json::json;
use subtle::ConstantTimeEq as _;

/// Seconds a user may take at the authorization server (api.md §2.16).
const COOKIE_SECONDS: u32 = 600;
/// Longest code and state that are taken from a query string.
const MAX_CODE: usize = 8192;

fn state_cookie(id: McpServerId) -> String {
    format!("mcp_oauth2_state_{id}")
}

fn verifier_cookie(id: McpServerId) -> String {
    format!("mcp_oauth2_verifier_{id}")
}

/// A cookie for the way back and nothing else.
fn cookie(state: &ApiState, id: McpServerId, name: &str, value: &str, seconds: u32) -> String {
    let secure = if state.settings.public_url.starts_with("https://") { "; Secure" } else { "" };
    let path = callback_path(id);
    format!("{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// A server that users can be connected to.
async fn connectable(state: &ApiState, id: McpServerId) -> Result<McpServerRecord> {
    let server = state.store.mcp_server(id).await.map_err(missing)?;
    let refuse = |why: &str| Err(Problem::bad_request("This MCP server cannot be connected.").detail(why));
    if !server.enabled {
        return refuse("It is disabled.");
    }
    if server.auth_type != McpAuthType::Oauth2 {
        return refuse("It does not use OAuth2, so there is nothing to connect.");
    }
    Ok(server)
}

/// The record with a client. One that is declared without gets its client when the first user comes: at
/// the start of the daemon the server may not be there yet.
async fn with_client(state: &ApiState, mut server: McpServerRecord) -> Result<McpServerRecord> {
    let Some(secret) = discovered(state, &mut server).await? else { return Ok(server) };
    match state.store.set_mcp_client(server.clone(), secret, state.clock.now()).await {
        // Another user was as fast; one client is enough.
        Err(store::Error::Stale) => connectable(state, server.id).await,
        other => other.map_err(missing),
    }
}

fn incomplete(e: &OauthError) -> Problem {
    Problem::bad_request("This MCP server cannot be connected.").detail(format!("{e}. Ask an administrator."))
}

/// What the OpenAPI document says of it.
pub const CONNECT: Doc = Doc::new("Go to the authorization server of a tool server").errors(&[400, 404, 409]);

/// Sends the browser to the authorization server.
pub async fn connect(
    state: web::Data<ApiState>,
    _caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let id = server_id(&path)?;
    let server = with_client(&state, connectable(&state, id).await?).await?;
    let client = tokens::client(&state.store, &server)?.map_err(|e| incomplete(&e))?;
    let (token, verifier) = (random_text(), random_text());
    let target = client.authorization(&callback_url(&state, id), &token, &verifier);
    Ok(HttpResponse::TemporaryRedirect()
        .insert_header((header::LOCATION, target.as_str()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .append_header((header::SET_COOKIE, cookie(&state, id, &state_cookie(id), &token, COOKIE_SECONDS)))
        .append_header((
            header::SET_COOKIE,
            cookie(&state, id, &verifier_cookie(id), &verifier, COOKIE_SECONDS),
        ))
        .finish())
}

/// What the OpenAPI document says of it.
pub const CALLBACK: Doc =
    Doc::new("Where the authorization server of a tool server sends the browser back to")
        .params(&[
            Param::query("code", ParamKind::Text, "The authorization code"),
            Param::query("state", ParamKind::Text, "What the browser was sent away with"),
            Param::query("error", ParamKind::Text, "Why there is no code"),
        ])
        .answers(Reply::Media(&["text/html"]))
        .errors(&[400, 404, 409, 502]);

/// Makes a token of the code, and closes the window.
pub async fn callback(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let id = server_id(&path)?;
    let server = connectable(&state, id).await?;
    let query = Query::parse(request.query_string())?;
    let refuse = |detail: String| Problem::bad_request("The MCP server was not connected.").detail(detail);
    if let Some(error) = query.get("error") {
        let words: String = error.chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(refuse(format!("The authorization server refused: {words}.")));
    }
    let sent = query.get("state").filter(|s| s.len() <= MAX_CODE).unwrap_or_default();
    let own = auth::cookie(&request, &state_cookie(id)).unwrap_or_default();
    if own.is_empty() || !bool::from(sent.as_bytes().ct_eq(own.as_bytes())) {
        let why = "The state does not match. Begin again in the window that is to be connected.";
        return Err(refuse(why.to_owned()));
    }
    let verifier = auth::cookie(&request, &verifier_cookie(id))
        .ok_or_else(|| refuse("The window was open for too long. Begin again.".into()))?;
    let code = query
        .get("code")
        .filter(|code| code.len() <= MAX_CODE)
        .ok_or_else(|| refuse("The authorization server sent no code.".into()))?;
    let client = tokens::client(&state.store, &server)?.map_err(|e| incomplete(&e))?;
    let now = state.clock.now();
    let grant = client.exchange(&state.outbound, code, &callback_url(&state, id), verifier, now).await;
    let grant = grant.map_err(|e| {
        tracing::warn!(server = server.slug, error = %e, "a code could not be exchanged for a token");
        Problem::new(StatusCode::BAD_GATEWAY, "The MCP server was not connected.")
            .detail(format!("The authorization code could not be exchanged: {e}."))
    })?;
    keep(&state, &caller, &server, grant).await?;
    Ok(done(&state, id))
}

/// Stores the token. A record that was changed meanwhile is no matter as long as its client is the same.
async fn keep(state: &ApiState, caller: &Caller, server: &McpServerRecord, grant: McpGrant) -> Result<()> {
    let (user, now) = (caller.user.id, state.clock.now());
    match state.store.put_mcp_token(server, user, grant.clone(), now).await {
        Err(store::Error::Stale) => {
            let latest = state.store.mcp_server(server.id).await.map_err(missing)?;
            let same = latest.oauth2_client_id == server.oauth2_client_id
                && latest.oauth2_token_url == server.oauth2_token_url
                && latest.url == server.url;
            if !same {
                return Err(missing(store::Error::Stale));
            }
            state.store.put_mcp_token(&latest, user, grant, now).await.map_err(missing)
        }
        other => other.map_err(missing),
    }
}

/// The page that tells the window it was opened from, and closes.
fn done(state: &ApiState, id: McpServerId) -> HttpResponse {
    let message = json!({ "type": "mcp-oauth2-complete", "serverID": id });
    let nonce = random_text();
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Connected</title></head>\
         <body><p>Connected. You can close this window.</p><script nonce=\"{nonce}\">\
         if (window.opener) {{ window.opener.postMessage({message}, window.location.origin); }}\
         window.close();</script></body></html>"
    );
    let policy = format!("default-src 'none'; script-src 'nonce-{nonce}'; frame-ancestors 'none'");
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .append_header((header::SET_COOKIE, cookie(state, id, &state_cookie(id), "", 0)))
        .append_header((header::SET_COOKIE, cookie(state, id, &verifier_cookie(id), "", 0)))
        .body(page)
}

/// What the OpenAPI document says of it.
pub const DISCONNECT: Doc = Doc::new("Forget the caller's token for a tool server").errors(&[400, 404]);

/// Forgets the caller's token, if there is one.
pub async fn disconnect(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let server = visible(&state, &caller, &path).await?;
    state.store.delete_mcp_token(server.id, caller.user.id).await?;
    Ok(body::no_content())
}
