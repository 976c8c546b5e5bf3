//! Why a model call failed, classified once (agent-loop.md §11).

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Kind of a failure, as it appears in `last_error.kind` and `retry.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Anything else.
    Generic,
    /// The provider is out of capacity.
    Overloaded,
    /// The provider limits the request rate.
    RateLimit,
    /// Network failure, gateway timeout or an answer that was cut.
    Timeout,
    /// The model sent nothing for too long.
    StreamSilenceTimeout,
    /// The account's quota is used up.
    UsageLimit,
    /// The provider refused the credential.
    Auth,
    /// The provider refused the request or the model settings.
    Config,
    /// No credential for the provider.
    MissingKey,
    /// The provider was turned off by an administrator.
    ProviderDisabled,
    /// The provider's filter withheld the answer.
    ContentFilter,
}

impl FailureKind {
    /// The name on the wire and in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Overloaded => "overloaded",
            Self::RateLimit => "rate_limit",
            Self::Timeout => "timeout",
            Self::StreamSilenceTimeout => "stream_silence_timeout",
            Self::UsageLimit => "usage_limit",
            Self::Auth => "auth",
            Self::Config => "config",
            Self::MissingKey => "missing_key",
            Self::ProviderDisabled => "provider_disabled",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// A failed model call, ready to be recorded as `retry_state` or `last_error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Class.
    pub kind: FailureKind,
    /// Whether trying again may help.
    pub retryable: bool,
    /// Text for the user, naming the provider by display name. Never holds a secret.
    pub message: String,
    /// The provider's own words, at most 500 characters.
    pub detail: Option<String>,
    /// Provider type, as `provider` on the wire: `anthropic`, `openai`, ….
    pub provider: String,
    /// HTTP status of the provider, if there was one.
    pub status_code: Option<u16>,
    /// The provider asked to wait this long.
    pub retry_after: Option<Duration>,
    /// What the provider kept or signed with an earlier answer is not known there any more: try without it.
    pub chain_broken: bool,
}
