//! `[[mcp_servers]]`: external tool servers.

use super::{
    secret::{Secret, mask_one, mask_values},
    units::{self, Endpoint},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// An external tool server (api.md §2.16).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct McpServer {
    /// Unique; letters, digits, dash and underscore. Its tools are named `{name}__{tool}`. Required.
    pub name: String,
    /// Shown to people. Default: `name`.
    #[serde(with = "units::optional")]
    pub display_name: Option<String>,
    /// What it is good for. Default: empty.
    pub description: String,
    /// Its address. Required.
    #[serde(with = "units::optional")]
    pub url: Option<Endpoint>,
    /// How it is spoken to. Default: streamable_http.
    pub transport: McpTransport,
    /// False keeps the declaration and refuses its use. Default: true.
    pub enabled: bool,
    /// Which chats have it. Default: default_on.
    pub availability: Availability,
    /// Whether its tools may be used while a plan is made. Default: false.
    pub allow_in_plan_mode: bool,
    /// Whether the model must say what it wants before each call. Default: false.
    pub model_intent: bool,
    /// Names of the only tools to offer. Default: empty, all.
    pub tool_allow_list: Vec<String>,
    /// Names of tools not to offer. Default: empty.
    pub tool_deny_list: Vec<String>,
    /// How the daemon proves who it is. Default: none.
    pub auth: McpAuth,
    /// api_key: the header that carries the key. Required for that kind.
    #[serde(with = "units::optional")]
    pub api_key_header: Option<String>,
    /// api_key: the key in clear; better one of the next two. At most one of the three.
    #[serde(serialize_with = "mask_one", skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// api_key: environment variable that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// api_key: file that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<PathBuf>,
    /// headers: names and values to send. Default: none.
    #[serde(serialize_with = "mask_values", skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// headers: names to send, and the environment variables that hold their values. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers_env: BTreeMap<String, String>,
    /// oauth2: client id. With the two addresses below, or none of the three: then they are discovered.
    #[serde(with = "units::optional")]
    pub oauth2_client_id: Option<String>,
    /// oauth2: client secret in clear; better one of the next two.
    #[serde(serialize_with = "mask_one", skip_serializing_if = "Option::is_none")]
    pub oauth2_client_secret: Option<Secret>,
    /// oauth2: environment variable that holds the client secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2_client_secret_env: Option<String>,
    /// oauth2: file that holds the client secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2_client_secret_file: Option<PathBuf>,
    /// oauth2: where users agree.
    #[serde(with = "units::optional")]
    pub oauth2_auth_url: Option<Endpoint>,
    /// oauth2: where codes become tokens.
    #[serde(with = "units::optional")]
    pub oauth2_token_url: Option<Endpoint>,
    /// oauth2: scopes to ask for, with spaces between. Default: empty.
    pub oauth2_scopes: String,
    /// The key, from wherever it was found.
    #[serde(skip)]
    pub key: Option<Secret>,
    /// The OAuth client secret, from wherever it was found.
    #[serde(skip)]
    pub client_secret: Option<Secret>,
    /// All headers to send, those of `headers` and those of `headers_env`.
    #[serde(skip)]
    pub resolved_headers: BTreeMap<String, Secret>,
}

/// How a tool server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum McpTransport {
    /// Streamable HTTP.
    StreamableHttp,
    /// The older HTTP with server-sent events.
    Sse,
}

/// How the daemon proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum McpAuth {
    /// Not at all.
    None,
    /// One header with a key.
    ApiKey,
    /// Headers as given (`custom_headers` in the API).
    Headers,
    /// A token each user agreed to.
    Oauth2,
    /// The OpenID Connect token of the chat's owner.
    UserOidc,
}

/// Which chats have a tool server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Every one.
    ForceOn,
    /// Those whose creator did not take it out.
    DefaultOn,
    /// Those whose creator asked for it.
    DefaultOff,
}

impl Default for McpServer {
    fn default() -> Self {
        Self {
            name: String::new(),
            display_name: None,
            description: String::new(),
            url: None,
            transport: McpTransport::StreamableHttp,
            enabled: true,
            availability: Availability::DefaultOn,
            allow_in_plan_mode: false,
            model_intent: false,
            tool_allow_list: Vec::new(),
            tool_deny_list: Vec::new(),
            auth: McpAuth::None,
            api_key_header: None,
            api_key: None,
            api_key_env: None,
            api_key_file: None,
            headers: BTreeMap::new(),
            headers_env: BTreeMap::new(),
            oauth2_client_id: None,
            oauth2_client_secret: None,
            oauth2_client_secret_env: None,
            oauth2_client_secret_file: None,
            oauth2_auth_url: None,
            oauth2_token_url: None,
            oauth2_scopes: String::new(),
            key: None,
            client_secret: None,
            resolved_headers: BTreeMap::new(),
        }
    }
}
