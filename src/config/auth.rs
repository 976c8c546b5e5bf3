//! `[auth]`: who may come in.

use super::{
    secret::{Secret, mask_one},
    units::{self, Endpoint},
};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// Who may come in.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// How callers prove who they are. Default: token.
    pub mode: AuthMode,
    /// How long a browser stays signed in. Default: 30 days.
    #[serde(with = "units::text")]
    pub session_ttl: Duration,
    /// Sign-in with an OpenID Connect provider, beside tokens. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Oidc>,
}

impl Default for Auth {
    fn default() -> Self {
        Self { mode: AuthMode::default(), session_ttl: Duration::from_secs(30 * 24 * 60 * 60), oidc: None }
    }
}

/// How callers prove who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// API tokens and sessions.
    #[default]
    Token,
    /// Everybody is the first user. Refused unless the daemon listens on the loopback only.
    None,
}

/// An OpenID Connect provider.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Oidc {
    /// Address below which `/.well-known/openid-configuration` lies. Required.
    #[serde(with = "units::optional")]
    pub issuer: Option<Endpoint>,
    /// Client id given by the provider. Required.
    pub client_id: String,
    /// Client secret in clear; better one of the next two.
    #[serde(serialize_with = "mask_one", skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// Environment variable that holds the client secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_env: Option<String>,
    /// File that holds the client secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// Scopes to ask for. Default: openid, profile, email.
    pub scopes: Vec<String>,
    /// The client secret, from wherever it was found.
    #[serde(skip)]
    pub secret: Option<Secret>,
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            issuer: None,
            client_id: String::new(),
            client_secret: None,
            client_secret_env: None,
            client_secret_file: None,
            scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
            secret: None,
        }
    }
}
