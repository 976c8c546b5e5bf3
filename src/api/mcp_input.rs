//! What administrators say of a tool server, and its rules (api.md §2.16).

use super::problem::{Problem, Result};
use crate::{
    clock::Timestamp,
    config::Secret,
    ids::McpServerId,
    store::records::{
        mcp::{
            McpAuthType, McpAvailability, McpSealed, McpSecrets, McpServerRecord, McpTransport, SecretChange,
        },
        models::Source,
    },
};
use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
};
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Longest slug: with a tool's name behind it, it must fit into what models accept as a name.
const MAX_SLUG: usize = 64;
/// Longest text of a field, longest address, longest secret, in bytes.
const MAX_TEXT: usize = 4096;
const MAX_URL: usize = 2048;
const MAX_SECRET: usize = 10_240;
/// Most headers, and most names in a list of tools.
const MAX_HEADERS: usize = 64;
const MAX_TOOLS: usize = 1000;

/// A secret in a request; it is never printed. Empty removes the one that is stored.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(format = "password")]
pub struct SecretText(String);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// A tool server to make. Secrets go in only.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CreateMcpServer)]
pub struct CreateServer {
    #[schema(required = true)]
    display_name: Option<String>,
    #[schema(required = true)]
    slug: Option<String>,
    #[schema(required = true)]
    transport: Option<String>,
    #[schema(required = true)]
    url: Option<String>,
    #[schema(required = true)]
    auth_type: Option<String>,
    #[schema(required = true)]
    availability: Option<String>,
    description: Option<String>,
    icon_url: Option<String>,
    oauth2_client_id: Option<String>,
    oauth2_client_secret: Option<SecretText>,
    oauth2_auth_url: Option<String>,
    oauth2_token_url: Option<String>,
    oauth2_scopes: Option<String>,
    api_key_header: Option<String>,
    api_key_value: Option<SecretText>,
    custom_headers: Option<BTreeMap<String, SecretText>>,
    tool_allow_list: Option<Vec<String>>,
    tool_deny_list: Option<Vec<String>>,
    enabled: Option<bool>,
    model_intent: Option<bool>,
    allow_in_plan_mode: Option<bool>,
    forward_coder_headers: Option<bool>,
}

/// Changes to a tool server; a missing key keeps.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PatchMcpServer)]
pub struct PatchServer {
    display_name: Option<String>,
    slug: Option<String>,
    transport: Option<String>,
    url: Option<String>,
    auth_type: Option<String>,
    availability: Option<String>,
    description: Option<String>,
    icon_url: Option<String>,
    oauth2_client_id: Option<String>,
    oauth2_client_secret: Option<SecretText>,
    oauth2_auth_url: Option<String>,
    oauth2_token_url: Option<String>,
    oauth2_scopes: Option<String>,
    api_key_header: Option<String>,
    api_key_value: Option<SecretText>,
    custom_headers: Option<BTreeMap<String, SecretText>>,
    tool_allow_list: Option<Vec<String>>,
    tool_deny_list: Option<Vec<String>>,
    enabled: Option<bool>,
    model_intent: Option<bool>,
    allow_in_plan_mode: Option<bool>,
    forward_coder_headers: Option<bool>,
}

/// The record of a new server, with its secrets.
///
/// # Errors
/// 400 that names the field.
pub fn created(body: CreateServer, now: Timestamp) -> Result<(McpServerRecord, McpSecrets)> {
    let given = |field: &'static str, text: &Option<String>| match text {
        Some(text) if !text.trim().is_empty() => Ok(()),
        _ => Err(Problem::field(field, format!("{field} is required."))),
    };
    given("display_name", &body.display_name)?;
    given("slug", &body.slug)?;
    given("transport", &body.transport)?;
    given("url", &body.url)?;
    given("auth_type", &body.auth_type)?;
    given("availability", &body.availability)?;
    // Everything that the body names replaces something here.
    let empty = McpServerRecord {
        id: McpServerId::fresh(),
        slug: String::new(),
        display_name: String::new(),
        description: String::new(),
        icon_url: String::new(),
        transport: McpTransport::StreamableHttp,
        url: String::new(),
        auth_type: McpAuthType::None,
        oauth2_client_id: None,
        oauth2_auth_url: None,
        oauth2_token_url: None,
        oauth2_scopes: None,
        oauth2_discovered: false,
        api_key_header: None,
        tool_allow_list: Vec::new(),
        tool_deny_list: Vec::new(),
        availability: McpAvailability::DefaultOff,
        enabled: true,
        model_intent: false,
        allow_in_plan_mode: false,
        forward_coder_headers: false,
        source: Source::Api,
        created_at: now,
        updated_at: now,
        sealed: McpSealed::default(),
    };
    let patch = PatchServer {
        display_name: body.display_name,
        slug: body.slug,
        transport: body.transport,
        url: body.url,
        auth_type: body.auth_type,
        availability: body.availability,
        description: body.description,
        icon_url: body.icon_url,
        oauth2_client_id: body.oauth2_client_id,
        oauth2_client_secret: body.oauth2_client_secret,
        oauth2_auth_url: body.oauth2_auth_url,
        oauth2_token_url: body.oauth2_token_url,
        oauth2_scopes: body.oauth2_scopes,
        api_key_header: body.api_key_header,
        api_key_value: body.api_key_value,
        custom_headers: body.custom_headers,
        tool_allow_list: body.tool_allow_list,
        tool_deny_list: body.tool_deny_list,
        enabled: body.enabled,
        model_intent: body.model_intent,
        allow_in_plan_mode: body.allow_in_plan_mode,
        forward_coder_headers: body.forward_coder_headers,
    };
    patched(&empty, patch)
}

/// The record as it shall be, and what becomes of its secrets.
///
/// # Errors
/// 400 that names the field.
pub fn patched(before: &McpServerRecord, patch: PatchServer) -> Result<(McpServerRecord, McpSecrets)> {
    let mut server = before.clone();
    let mut secrets = McpSecrets::default();
    if let Some(name) = patch.display_name {
        server.display_name = text("display_name", &name)?;
        if server.display_name.is_empty() {
            return Err(Problem::field("display_name", "display_name must not be empty."));
        }
    }
    if let Some(slug) = patch.slug {
        server.slug = checked_slug(slug)?;
    }
    if let Some(name) = patch.transport {
        server.transport =
            one_of("transport", &name, McpTransport::of, McpTransport::ALL, McpTransport::as_str)?;
    }
    if let Some(address) = patch.url {
        server.url = url("url", &address)?;
    }
    if let Some(name) = patch.auth_type {
        server.auth_type =
            one_of("auth_type", &name, McpAuthType::of, McpAuthType::ALL, McpAuthType::as_str)?;
    }
    if let Some(name) = patch.availability {
        let all = McpAvailability::ALL;
        server.availability =
            one_of("availability", &name, McpAvailability::of, all, McpAvailability::as_str)?;
    }
    if let Some(about) = patch.description {
        server.description = text("description", &about)?;
    }
    if let Some(icon) = patch.icon_url {
        server.icon_url = text("icon_url", &icon)?;
    }
    let lists = [
        ("tool_allow_list", patch.tool_allow_list, &mut server.tool_allow_list),
        ("tool_deny_list", patch.tool_deny_list, &mut server.tool_deny_list),
    ];
    for (field, given, kept) in lists {
        if let Some(names) = given {
            *kept = tools(field, &names)?;
        }
    }
    server.enabled = patch.enabled.unwrap_or(server.enabled);
    server.model_intent = patch.model_intent.unwrap_or(server.model_intent);
    server.allow_in_plan_mode = patch.allow_in_plan_mode.unwrap_or(server.allow_in_plan_mode);
    server.forward_coder_headers = patch.forward_coder_headers.unwrap_or(server.forward_coder_headers);

    // A client that was found out was registered for the server at the old address.
    if server.oauth2_discovered && origin(&server.url) != origin(&before.url) {
        forget_client(&mut server, &mut secrets);
    }
    let optional = |field: &'static str, given: Option<String>| given.map(|t| text(field, &t)).transpose();
    if let Some(id) = optional("oauth2_client_id", patch.oauth2_client_id)? {
        server.oauth2_client_id = Some(id).filter(|t| !t.is_empty());
    }
    let addresses = [
        ("oauth2_auth_url", patch.oauth2_auth_url, &mut server.oauth2_auth_url),
        ("oauth2_token_url", patch.oauth2_token_url, &mut server.oauth2_token_url),
    ];
    for (field, given, kept) in addresses {
        match given {
            None => {}
            Some(address) if address.trim().is_empty() => *kept = None,
            Some(address) => *kept = Some(url(field, &address)?),
        }
    }
    let client = |s: &McpServerRecord| {
        (s.oauth2_client_id.clone(), s.oauth2_auth_url.clone(), s.oauth2_token_url.clone())
    };
    if client(&server) != client(before) {
        server.oauth2_discovered = false;
    }
    if let Some(scopes) = optional("oauth2_scopes", patch.oauth2_scopes)? {
        server.oauth2_scopes = Some(scopes).filter(|t| !t.is_empty());
    }
    if let Some(header) = optional("api_key_header", patch.api_key_header)? {
        server.api_key_header =
            if header.is_empty() { None } else { Some(header_name("api_key_header", header)?) };
    }
    if let Some(secret) = patch.oauth2_client_secret {
        secrets.client_secret = secret_change("oauth2_client_secret", secret)?;
    }
    if let Some(secret) = patch.api_key_value {
        header_value("api_key_value", &secret.0)?;
        secrets.api_key = secret_change("api_key_value", secret)?;
    }
    if let Some(headers) = patch.custom_headers {
        secrets.custom_headers = custom_headers(&headers)?;
    }
    drop_other_types(&mut server, &mut secrets);
    complete(&server, &secrets)?;
    Ok((server, secrets))
}

fn forget_client(server: &mut McpServerRecord, secrets: &mut McpSecrets) {
    server.oauth2_client_id = None;
    server.oauth2_auth_url = None;
    server.oauth2_token_url = None;
    server.oauth2_discovered = false;
    secrets.client_secret = SecretChange::Clear;
}

/// Credentials of another type than the server's are of no use and are not kept.
fn drop_other_types(server: &mut McpServerRecord, secrets: &mut McpSecrets) {
    if server.auth_type != McpAuthType::Oauth2 {
        forget_client(server, secrets);
        server.oauth2_scopes = None;
    }
    if server.auth_type != McpAuthType::ApiKey {
        server.api_key_header = None;
        secrets.api_key = SecretChange::Clear;
    }
    if server.auth_type != McpAuthType::CustomHeaders {
        secrets.custom_headers = SecretChange::Clear;
    }
}

/// Whether what a type of authentication needs is there.
fn complete(server: &McpServerRecord, secrets: &McpSecrets) -> Result<()> {
    let there = |change: &SecretChange, stored: &Option<Vec<u8>>| match change {
        SecretChange::Keep => stored.is_some(),
        SecretChange::Clear => false,
        SecretChange::Set(_) => true,
    };
    match server.auth_type {
        McpAuthType::None | McpAuthType::UserOidc => Ok(()),
        McpAuthType::ApiKey => {
            if server.api_key_header.is_none() {
                return Err(Problem::field(
                    "api_key_header",
                    "api_key_header is required for auth_type api_key.",
                ));
            }
            if !there(&secrets.api_key, &server.sealed.api_key) {
                return Err(Problem::field(
                    "api_key_value",
                    "api_key_value is required for auth_type api_key.",
                ));
            }
            Ok(())
        }
        McpAuthType::CustomHeaders => {
            if there(&secrets.custom_headers, &server.sealed.custom_headers) {
                return Ok(());
            }
            let why = "custom_headers must name at least one header for auth_type custom_headers.";
            Err(Problem::field("custom_headers", why))
        }
        McpAuthType::Oauth2 => {
            let fields = server.oauth_fields();
            let missing = fields.iter().find(|(_, given)| !given);
            match missing {
                Some((field, _)) if fields.iter().any(|(_, given)| *given) => Err(Problem::field(
                    *field,
                    "Give oauth2_client_id, oauth2_auth_url and oauth2_token_url, or none of them: then they \
                     are discovered.",
                )),
                _ => Ok(()),
            }
        }
    }
}

/// Whether tokens that users have were given to somebody else than this record speaks of.
pub fn tokens_are_void(before: &McpServerRecord, after: &McpServerRecord, secrets: &McpSecrets) -> bool {
    before.auth_type != after.auth_type
        || before.oauth2_client_id != after.oauth2_client_id
        || before.oauth2_auth_url != after.oauth2_auth_url
        || before.oauth2_token_url != after.oauth2_token_url
        || secrets.client_secret != SecretChange::Keep
        // A token must not be shown to another machine than the one it was asked for.
        || origin(&before.url) != origin(&after.url)
}

fn origin(url: &str) -> Option<String> {
    Url::parse(url).ok().map(|u| u.origin().ascii_serialization())
}

fn text(field: &'static str, text: &str) -> Result<String> {
    let text = text.trim();
    if text.len() > MAX_TEXT || text.contains('\0') {
        let why = format!("{field} may have at most {MAX_TEXT} bytes, none of them NUL.");
        return Err(Problem::field(field, why));
    }
    Ok(text.to_owned())
}

fn checked_slug(slug: String) -> Result<String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if slug.is_empty() || slug.len() > MAX_SLUG || !slug.chars().all(sound) {
        let why = format!("slug must be 1 to {MAX_SLUG} letters, digits, dashes and underscores.");
        return Err(Problem::field("slug", why));
    }
    Ok(slug)
}

fn one_of<T: Copy>(
    field: &'static str,
    name: &str,
    of: impl Fn(&str) -> Option<T>,
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
) -> Result<T> {
    of(name).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|v| as_str(*v)).collect();
        Problem::field(field, format!("{field} must be one of {}.", names.join(", ")))
    })
}

fn url(field: &'static str, text: &str) -> Result<String> {
    let text = text.trim();
    let sound = text.len() <= MAX_URL
        && Url::parse(text).is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
    if sound {
        Ok(text.to_owned())
    } else {
        Err(Problem::field(
            field,
            format!("{field} must be an absolute http or https URL of at most {MAX_URL} bytes."),
        ))
    }
}

fn tools(field: &'static str, names: &[String]) -> Result<Vec<String>> {
    let names: Vec<String> = names.iter().map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect();
    if names.len() > MAX_TOOLS || names.iter().any(|n| n.len() > MAX_SECRET || n.contains('\0')) {
        return Err(Problem::field(field, format!("{field} may hold at most {MAX_TOOLS} names of tools.")));
    }
    Ok(names)
}

fn header_name(field: &'static str, name: String) -> Result<String> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) => Ok(name),
        Err(_) => Err(Problem::field(field, format!("{field}: {name:?} is no name of an HTTP header."))),
    }
}

fn header_value(field: &'static str, value: &str) -> Result<()> {
    if value.len() <= MAX_SECRET && HeaderValue::from_str(value).is_ok() {
        Ok(())
    } else {
        let why =
            format!("{field} must be text that an HTTP header can carry, of at most {MAX_SECRET} bytes.");
        Err(Problem::field(field, why))
    }
}

fn secret_change(field: &'static str, secret: SecretText) -> Result<SecretChange> {
    if secret.0.len() > MAX_SECRET || secret.0.contains('\0') {
        return Err(Problem::field(
            field,
            format!("{field} may have at most {MAX_SECRET} bytes, none of them NUL."),
        ));
    }
    Ok(if secret.0.is_empty() { SecretChange::Clear } else { SecretChange::Set(Secret::new(secret.0)) })
}

fn custom_headers(headers: &BTreeMap<String, SecretText>) -> Result<SecretChange> {
    const FIELD: &str = "custom_headers";
    if headers.len() > MAX_HEADERS {
        return Err(Problem::field(FIELD, format!("custom_headers may hold at most {MAX_HEADERS} headers.")));
    }
    for (name, value) in headers {
        header_name(FIELD, name.clone())?;
        header_value(FIELD, &value.0)?;
    }
    if headers.is_empty() {
        return Ok(SecretChange::Clear);
    }
    Ok(SecretChange::Set(headers_text(headers.iter().map(|(name, value)| (name.as_str(), value.0.as_str())))))
}

/// Headers as they are sealed: a JSON object.
pub fn headers_text<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Secret {
    let map: serde_json::Map<String, serde_json::Value> =
        headers.map(|(name, value)| (name.to_owned(), value.into())).collect();
    Secret::new(serde_json::Value::Object(map).to_string())
}
