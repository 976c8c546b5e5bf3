//! The tool servers of the configuration, brought in step with the database.

use super::StartError;
use crate::{
    api::mcp_input::headers_text,
    clock::Timestamp,
    config::{
        Config, Secret,
        mcp_servers::{Availability, McpAuth, McpServer, McpTransport as Transport},
    },
    ids::McpServerId,
    store::{
        Store,
        records::{
            mcp::{
                McpAuthType, McpAvailability, McpSealed, McpSecrets, McpServerRecord, McpTransport,
                SecretChange,
            },
            models::Source,
        },
    },
};
use uuid::Uuid;

/// Ids of declared servers are made of their names, so that every replica comes to the same.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d63_7073_6572_7665_8273_0000_0000_0001);

/// Writes what is declared.
///
/// # Errors
/// When the database fails.
pub async fn sync(config: &Config, store: &Store, now: Timestamp) -> Result<(), StartError> {
    let declared = config.mcp_servers.iter().map(|server| record(server, now)).collect();
    store
        .sync_mcp_servers(declared, now)
        .await
        .map_err(|e| StartError::Database(format!("the tool servers could not be brought in step: {e}")))
}

pub(super) fn record(server: &McpServer, now: Timestamp) -> (McpServerRecord, McpSecrets) {
    let change = |secret: Option<Secret>| secret.map_or(SecretChange::Clear, SecretChange::Set);
    let headers = &server.resolved_headers;
    let headers = (!headers.is_empty())
        .then(|| headers_text(headers.iter().map(|(name, value)| (name.as_str(), value.expose()))));
    let secrets = McpSecrets {
        client_secret: change(server.client_secret.clone()),
        api_key: change(server.key.clone()),
        custom_headers: change(headers),
    };
    let address = |url: &Option<crate::config::Endpoint>| url.as_ref().map(|u| u.as_str().to_owned());
    let record = McpServerRecord {
        id: McpServerId(Uuid::new_v5(&NAMESPACE, server.name.as_bytes())),
        slug: server.name.clone(),
        display_name: server.display_name.clone().unwrap_or_else(|| server.name.clone()),
        description: server.description.clone(),
        icon_url: String::new(),
        transport: match server.transport {
            Transport::StreamableHttp => McpTransport::StreamableHttp,
            Transport::Sse => McpTransport::Sse,
        },
        // `config check` refuses a server without one.
        url: address(&server.url).unwrap_or_default(),
        auth_type: match server.auth {
            McpAuth::None => McpAuthType::None,
            McpAuth::ApiKey => McpAuthType::ApiKey,
            McpAuth::Headers => McpAuthType::CustomHeaders,
            McpAuth::Oauth2 => McpAuthType::Oauth2,
            McpAuth::UserOidc => McpAuthType::UserOidc,
        },
        oauth2_client_id: server.oauth2_client_id.clone(),
        oauth2_auth_url: address(&server.oauth2_auth_url),
        oauth2_token_url: address(&server.oauth2_token_url),
        oauth2_scopes: Some(server.oauth2_scopes.trim().to_owned()).filter(|s| !s.is_empty()),
        oauth2_discovered: false,
        api_key_header: server.api_key_header.clone(),
        tool_allow_list: server.tool_allow_list.clone(),
        tool_deny_list: server.tool_deny_list.clone(),
        availability: match server.availability {
            Availability::ForceOn => McpAvailability::ForceOn,
            Availability::DefaultOn => McpAvailability::DefaultOn,
            Availability::DefaultOff => McpAvailability::DefaultOff,
        },
        enabled: server.enabled,
        model_intent: server.model_intent,
        allow_in_plan_mode: server.allow_in_plan_mode,
        forward_coder_headers: false,
        source: Source::Config,
        created_at: now,
        updated_at: now,
        sealed: McpSealed::default(),
    };
    (record, secrets)
}
