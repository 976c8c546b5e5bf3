//! Rows of external tool servers (MCP) and of the tokens that users have for them.

use super::models::Source;
use crate::{
    clock::Timestamp,
    config::Secret,
    ids::{McpServerId, UserId},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! wire_names {
    ($($(#[$doc:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $text:literal),* $(,)? })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        // The document's schema does not see names that a macro gives; a test compares them.
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$inner])* $variant),* }

        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Name on the wire and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The one of this name.
            #[must_use]
            pub fn of(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text)
            }
        }
    )* };
}

wire_names! {
    /// How a server is spoken to.
    McpTransport {
        /// Streamable HTTP.
        StreamableHttp = "streamable_http",
        /// The older HTTP with server-sent events.
        Sse = "sse",
    }
    /// How the daemon proves who it is.
    McpAuthType {
        /// Not at all.
        None = "none",
        /// A token each user agreed to.
        Oauth2 = "oauth2",
        /// One header with a key.
        ApiKey = "api_key",
        /// Headers as given.
        CustomHeaders = "custom_headers",
        /// The OpenID Connect token of the chat's owner.
        UserOidc = "user_oidc",
    }
    /// Which chats have a server.
    McpAvailability {
        /// Every one.
        ForceOn = "force_on",
        /// Those whose creator did not take it out.
        DefaultOn = "default_on",
        /// Those whose creator asked for it.
        DefaultOff = "default_off",
    }
}

/// A server of tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServerRecord {
    /// Id.
    pub id: McpServerId,
    /// Unique, URL-safe name: tools are named `{slug}__{tool}`.
    pub slug: String,
    /// Shown to people.
    pub display_name: String,
    /// What it is good for.
    pub description: String,
    /// Address of an icon; may be empty.
    pub icon_url: String,
    /// How it is spoken to.
    pub transport: McpTransport,
    /// Its address.
    pub url: String,
    /// How the daemon proves who it is.
    pub auth_type: McpAuthType,
    /// OAuth: client id.
    pub oauth2_client_id: Option<String>,
    /// OAuth: where users agree.
    pub oauth2_auth_url: Option<String>,
    /// OAuth: where codes become tokens.
    pub oauth2_token_url: Option<String>,
    /// OAuth: scopes to ask for, with spaces between.
    pub oauth2_scopes: Option<String>,
    /// OAuth: client and addresses were found out, and not given by an administrator.
    pub oauth2_discovered: bool,
    /// The header that carries the key.
    pub api_key_header: Option<String>,
    /// The only tools to offer; empty = all.
    pub tool_allow_list: Vec<String>,
    /// Tools not to offer.
    pub tool_deny_list: Vec<String>,
    /// Which chats have it.
    pub availability: McpAvailability,
    /// False: nobody can use it.
    pub enabled: bool,
    /// The model must say what it wants before each call.
    pub model_intent: bool,
    /// Its tools may be used while a plan is made.
    pub allow_in_plan_mode: bool,
    /// It gets the headers that tell who asks.
    pub forward_coder_headers: bool,
    /// Who made it.
    pub source: Source,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
    /// Its secrets, sealed.
    pub sealed: McpSealed,
}

impl McpServerRecord {
    /// Which of client id and the two addresses are known.
    #[must_use]
    pub fn oauth_fields(&self) -> [(&'static str, bool); 3] {
        [
            ("oauth2_client_id", self.oauth2_client_id.is_some()),
            ("oauth2_auth_url", self.oauth2_auth_url.is_some()),
            ("oauth2_token_url", self.oauth2_token_url.is_some()),
        ]
    }
}

/// Secrets of a server for [`crate::store::sealing::Keyring::open`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct McpSealed {
    /// OAuth client secret.
    pub client_secret: Option<Vec<u8>>,
    /// Key.
    pub api_key: Option<Vec<u8>>,
    /// Headers: a JSON object of names and values.
    pub custom_headers: Option<Vec<u8>>,
}

/// What becomes of a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SecretChange {
    /// It stays.
    #[default]
    Keep,
    /// It is removed.
    Clear,
    /// It is replaced.
    Set(Secret),
}

/// What becomes of the secrets of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct McpSecrets {
    /// OAuth client secret.
    pub client_secret: SecretChange,
    /// Key.
    pub api_key: SecretChange,
    /// Headers: a JSON object of names and values.
    pub custom_headers: SecretChange,
}

/// A token of a user for a server, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpTokenRecord {
    /// Id, to which the values are bound.
    pub id: Uuid,
    /// For which server.
    pub server_id: McpServerId,
    /// Whose.
    pub user_id: UserId,
    /// Access token.
    pub access_token: Vec<u8>,
    /// Refresh token.
    pub refresh_token: Option<Vec<u8>>,
    /// `Bearer`, as the authorization server calls it.
    pub token_type: String,
    /// When the access token ends; `None` = nobody said.
    pub expires_at: Option<Timestamp>,
    /// When it was stored last.
    pub updated_at: Timestamp,
}

impl McpTokenRecord {
    /// Whether it opens the door now, or can be made to.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.refresh_token.is_some() || self.expires_at.is_none_or(|end| end > now)
    }
}

/// A token in clear, as an authorization server gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpGrant {
    /// Access token.
    pub access_token: Secret,
    /// Refresh token; `None` keeps an earlier one when a token is refreshed.
    pub refresh_token: Option<Secret>,
    /// Kind of token; empty is `Bearer`.
    pub token_type: String,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}
