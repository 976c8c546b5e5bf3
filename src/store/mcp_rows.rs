//! Diesel's view of tool servers and tokens.

use super::{
    error::{Error, Result},
    model_rows::{source_name, source_of},
    records::mcp::{McpAuthType, McpAvailability, McpSealed, McpServerRecord, McpTokenRecord, McpTransport},
    schema::{mcp_servers, mcp_user_tokens},
    types::{Id, Raw, Ts},
};
use crate::{
    chat::json::Json,
    ids::{McpServerId, UserId},
};
use diesel::{
    Selectable,
    prelude::{AsChangeset, Identifiable, Insertable, Queryable},
};

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset, Identifiable)]
#[diesel(table_name = mcp_servers, treat_none_as_null = true)]
pub(super) struct McpServerRow {
    pub id: Id,
    pub slug: String,
    pub display_name: String,
    pub description: String,
    pub icon_url: String,
    pub transport: String,
    pub url: String,
    pub auth_type: String,
    pub oauth2_client_id: Option<String>,
    pub oauth2_client_secret: Option<Vec<u8>>,
    pub oauth2_auth_url: Option<String>,
    pub oauth2_token_url: Option<String>,
    pub oauth2_scopes: Option<String>,
    pub oauth2_discovered: bool,
    pub api_key_header: Option<String>,
    pub api_key_value: Option<Vec<u8>>,
    pub custom_headers: Option<Vec<u8>>,
    pub tool_allow_list: Raw,
    pub tool_deny_list: Raw,
    pub availability: String,
    pub enabled: bool,
    pub model_intent: bool,
    pub allow_in_plan_mode: bool,
    pub forward_coder_headers: bool,
    pub source: String,
    pub created_at: Ts,
    pub updated_at: Ts,
}

impl From<McpServerRecord> for McpServerRow {
    fn from(r: McpServerRecord) -> Self {
        Self {
            id: Id(r.id.0),
            slug: r.slug,
            display_name: r.display_name,
            description: r.description,
            icon_url: r.icon_url,
            transport: r.transport.as_str().into(),
            url: r.url,
            auth_type: r.auth_type.as_str().into(),
            oauth2_client_id: r.oauth2_client_id,
            oauth2_client_secret: r.sealed.client_secret,
            oauth2_auth_url: r.oauth2_auth_url,
            oauth2_token_url: r.oauth2_token_url,
            oauth2_scopes: r.oauth2_scopes,
            oauth2_discovered: r.oauth2_discovered,
            api_key_header: r.api_key_header,
            api_key_value: r.sealed.api_key,
            custom_headers: r.sealed.custom_headers,
            tool_allow_list: Raw(Json::of(&r.tool_allow_list)),
            tool_deny_list: Raw(Json::of(&r.tool_deny_list)),
            availability: r.availability.as_str().into(),
            enabled: r.enabled,
            model_intent: r.model_intent,
            allow_in_plan_mode: r.allow_in_plan_mode,
            forward_coder_headers: r.forward_coder_headers,
            source: source_name(r.source).into(),
            created_at: Ts(r.created_at),
            updated_at: Ts(r.updated_at),
        }
    }
}

impl McpServerRow {
    pub fn record(self) -> Result<McpServerRecord> {
        let corrupt = |what: &str, text: &str| Error::Corrupt(format!("MCP server {what} {text:?}"));
        let names = |json: &Raw| {
            json.0.read::<Vec<String>>().map_err(|_| corrupt("tool list", "of something else than names"))
        };
        Ok(McpServerRecord {
            id: McpServerId(self.id.0),
            transport: McpTransport::of(&self.transport)
                .ok_or_else(|| corrupt("transport", &self.transport))?,
            auth_type: McpAuthType::of(&self.auth_type)
                .ok_or_else(|| corrupt("auth type", &self.auth_type))?,
            availability: McpAvailability::of(&self.availability)
                .ok_or_else(|| corrupt("availability", &self.availability))?,
            source: source_of(&self.source)?,
            tool_allow_list: names(&self.tool_allow_list)?,
            tool_deny_list: names(&self.tool_deny_list)?,
            slug: self.slug,
            display_name: self.display_name,
            description: self.description,
            icon_url: self.icon_url,
            url: self.url,
            oauth2_client_id: self.oauth2_client_id,
            oauth2_auth_url: self.oauth2_auth_url,
            oauth2_token_url: self.oauth2_token_url,
            oauth2_scopes: self.oauth2_scopes,
            oauth2_discovered: self.oauth2_discovered,
            api_key_header: self.api_key_header,
            enabled: self.enabled,
            model_intent: self.model_intent,
            allow_in_plan_mode: self.allow_in_plan_mode,
            forward_coder_headers: self.forward_coder_headers,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
            sealed: McpSealed {
                client_secret: self.oauth2_client_secret,
                api_key: self.api_key_value,
                custom_headers: self.custom_headers,
            },
        })
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = mcp_user_tokens)]
pub(super) struct McpTokenRow {
    pub id: Id,
    pub server_id: Id,
    pub user_id: Id,
    pub access_token: Vec<u8>,
    pub refresh_token: Option<Vec<u8>>,
    pub token_type: String,
    pub expires_at: Option<Ts>,
    pub updated_at: Ts,
}

impl From<McpTokenRow> for McpTokenRecord {
    fn from(r: McpTokenRow) -> Self {
        Self {
            id: r.id.0,
            server_id: McpServerId(r.server_id.0),
            user_id: UserId(r.user_id.0),
            access_token: r.access_token,
            refresh_token: r.refresh_token,
            token_type: r.token_type,
            expires_at: r.expires_at.map(|t| t.0),
            updated_at: r.updated_at.0,
        }
    }
}
