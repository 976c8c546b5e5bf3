//! Why a model call failed: one ordered list of rules, the first that matches decides (agent-loop.md §11.3).

#[cfg(test)]
mod tests;

use super::{
    failure::{Failure, FailureKind},
    providers,
    wire::{self, WireError},
};
use serde_json::Value;
use std::time::Duration;

/// Longest text of a provider that is shown, in characters.
pub const MAX_DETAIL: usize = 500;

/// What happened, before anything was concluded from it.
#[derive(Debug, Clone, PartialEq)]
pub enum RawFailure {
    /// Concluded already.
    Classified(Failure),
    /// Our own interruption.
    Interrupted,
    /// Our own deadline ran out.
    Deadline,
    /// The caller went away.
    Cancelled,
    /// The answer ended before its terminal event.
    Incomplete,
    /// Nothing came for this long.
    Silence(Duration),
    /// An HTTP status that is no success.
    Status {
        /// The status.
        status: u16,
        /// What the provider asks for.
        retry_after: Option<Duration>,
        /// The body, at most 64 KiB of it.
        body: String,
    },
    /// An error inside of the stream, or an event that cannot be read.
    Wire(WireError),
    /// The connection failed: the texts of the error and its causes.
    Network(String),
    /// Something that is no answer of a model, or settings with which no request can be made.
    Unusable(String),
}

impl RawFailure {
    /// Changes the provider's words, for the removal of secrets.
    #[must_use]
    pub fn map_text(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Status { status, retry_after, body } => {
                Self::Status { status, retry_after, body: change(body) }
            }
            Self::Wire(WireError::Provider { status, code, message }) => {
                Self::Wire(WireError::Provider { status, code, message: change(message) })
            }
            Self::Wire(WireError::Malformed(text)) => Self::Wire(WireError::Malformed(change(text))),
            Self::Network(text) => Self::Network(change(text)),
            Self::Unusable(text) => Self::Unusable(change(text)),
            other => other,
        }
    }
}

/// Concludes. `provider_type` is the wire name of the provider.
#[must_use]
pub fn classify(provider_type: &str, raw: RawFailure) -> Failure {
    classify_named(provider_type, None, raw)
}

/// As [`classify`], with the display name of a provider that has one of its own.
#[must_use]
pub fn classify_named(provider_type: &str, display_name: Option<&str>, raw: RawFailure) -> Failure {
    let facts = match raw {
        RawFailure::Classified(failure) => return failure, // rule 1
        raw => Facts::of(raw),
    };
    let Class { kind, retryable, chain_broken } = decide(&facts);
    let provider = providers::lookup(provider_type).or_else(|| guess(&facts.text));
    let name = display_name
        .filter(|n| !n.trim().is_empty())
        .or(provider.map(|p| p.display_name))
        .unwrap_or("The model provider");
    Failure {
        kind,
        retryable,
        message: message(kind, retryable, name, &facts),
        detail: facts.detail.as_deref().map(cut).filter(|d| !d.is_empty()),
        provider: provider.map_or_else(|| provider_type.to_owned(), |p| p.name.to_owned()),
        status_code: facts.status,
        retry_after: facts.retry_after,
        chain_broken,
    }
}

/// How the failure came about, as far as a rule asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Interrupted,
    Deadline,
    Cancelled,
    Incomplete,
    Silence,
    Network,
    Unusable,
    /// The provider said so.
    Reported,
}

struct Facts {
    cause: Cause,
    status: Option<u16>,
    /// Everything that was said, in lower case and without addresses.
    text: String,
    detail: Option<String>,
    retry_after: Option<Duration>,
}

impl Facts {
    fn of(raw: RawFailure) -> Self {
        let plain =
            |cause| Self { cause, status: None, text: String::new(), detail: None, retry_after: None };
        match raw {
            RawFailure::Classified(failure) => {
                Self { detail: failure.detail, status: failure.status_code, ..plain(Cause::Reported) }
            }
            RawFailure::Interrupted => plain(Cause::Interrupted),
            RawFailure::Deadline => plain(Cause::Deadline),
            RawFailure::Cancelled => plain(Cause::Cancelled),
            RawFailure::Incomplete => plain(Cause::Incomplete),
            RawFailure::Silence(_) => plain(Cause::Silence),
            RawFailure::Status { status, retry_after, body } => {
                let (detail, text) = read_body(&body);
                Self { status: Some(status), text, detail, retry_after, ..plain(Cause::Reported) }
            }
            RawFailure::Wire(WireError::Provider { status, code, message }) => Self {
                status,
                text: words(&format!("{} {message}", code.unwrap_or_default())),
                detail: Some(message),
                ..plain(Cause::Reported)
            },
            RawFailure::Wire(WireError::Malformed(what)) => {
                // Not matched against the rules: the text is ours, not the provider's.
                Self {
                    detail: Some(format!("The answer could not be read: {what}")),
                    ..plain(Cause::Reported)
                }
            }
            RawFailure::Network(text) => {
                Self { text: text.to_lowercase(), detail: Some(text), ..plain(Cause::Network) }
            }
            RawFailure::Unusable(text) => Self { detail: Some(text), ..plain(Cause::Unusable) },
        }
    }

    fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|w| self.text.contains(w))
    }

    fn is(&self, statuses: &[u16]) -> bool {
        self.status.is_some_and(|s| statuses.contains(&s))
    }

    /// `eof` as a word of its own: many words contain it.
    fn says_eof(&self) -> bool {
        self.text.split(|c: char| !c.is_alphanumeric()).any(|w| w == "eof")
    }
}

/// The detail of an error body, and the text the rules look at.
fn read_body(body: &str) -> (Option<String>, String) {
    let Ok(value) = serde_json::from_str::<Value>(body) else { return (None, words(body)) };
    let value = match &value {
        Value::Array(list) => list.first().unwrap_or(&value), // Google's compatible endpoint
        other => other,
    };
    let detail = value
        .pointer("/error/message")
        .or_else(|| value.get("message"))
        .or_else(|| value.get("error"))
        .and_then(Value::as_str)
        .map(|message| wire::with_upstream(message.to_owned(), value.get("error").unwrap_or(value)));
    let mut text = detail.clone().unwrap_or_else(|| value.to_string());
    for pointer in ["/error/type", "/error/code", "/error/status", "/code", "/type"] {
        if let Some(word) = value.pointer(pointer).and_then(Value::as_str) {
            text.push(' ');
            text.push_str(word);
        }
    }
    (detail, words(&text))
}

/// What is said, in lower case. Addresses are left out: providers add to a rate limit where quotas are raised or
/// where the billing is.
fn words(text: &str) -> String {
    let text = text.to_lowercase();
    let (mut said, mut rest) = (String::with_capacity(text.len()), text.as_str());
    while let Some(at) = ["http://", "https://"].iter().filter_map(|scheme| rest.find(scheme)).min() {
        said.push_str(&rest[..at]);
        let address = &rest[at..];
        let end =
            address.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ')' | ']'));
        rest = end.map_or("", |end| &address[end..]);
    }
    said.push_str(rest);
    said
}

struct Class {
    kind: FailureKind,
    retryable: bool,
    chain_broken: bool,
}

/// Words that mean a wrong model or request whatever the status says.
const CONFIG: &[&str] = &[
    "invalid model",
    "invalid_model",
    "unknown model",
    "unknown_model",
    "no such model",
    "not a valid model",
    "model not found",
    "model_not_found",
    "model does not exist",
    "unsupported",
    "not supported",
    "context length",
    "context_length",
    "context window",
    "maximum context",
    "prompt is too long",
    "input is too long",
];

/// Rules 2 to 16.
fn decide(f: &Facts) -> Class {
    use FailureKind as K;
    let class = |kind, retryable| Class { kind, retryable, chain_broken: false };
    let config = f.says(CONFIG);

    // 2
    if f.cause == Cause::Interrupted
        || f.says(&["chat interrupted", "interrupted by user", "interrupted by the user"])
    {
        return class(K::Generic, false);
    }
    // 3: the history itself is wrong; asking again with the same history cannot help
    if f.says(&["no tool output found for function call", "without its required 'reasoning' item"])
        || (f.says(&["function_call_output", "function call output"]) && f.says(&["missing"]))
    {
        return class(K::Generic, false);
    }
    // 4
    match f.cause {
        Cause::Incomplete => return class(K::Timeout, true),
        Cause::Silence => return class(K::StreamSilenceTimeout, true),
        Cause::Deadline => return class(K::Timeout, false),
        _ => {}
    }
    // 5
    if forgotten(f) {
        return Class { kind: K::Generic, retryable: true, chain_broken: true };
    }
    // 6
    if f.is(&[529]) || f.says(&["overloaded"]) {
        return class(K::Overloaded, true);
    }
    // 7: whatever the status, also on 429
    if f.is(&[402])
        || f.says(&[
            "quota",
            "billing",
            "payment required",
            "credit balance",
            "insufficient credits",
            "insufficient balance",
            "insufficient funds",
        ])
    {
        return class(K::UsageLimit, false);
    }
    // 8
    if f.is(&[401])
        || f.says(&[
            "authentication",
            "unauthorized",
            "unauthenticated",
            "invalid api key",
            "invalid_api_key",
            "incorrect api key",
            "invalid x-api-key",
            "api key not valid",
        ])
    {
        return class(K::Auth, false);
    }
    // 9
    if !config
        && (f.is(&[403])
            || f.says(&["forbidden", "permission_error", "permission denied", "permission_denied"]))
    {
        return class(K::Auth, false);
    }
    // 10
    if !config
        && (f.is(&[429])
            || f.says(&[
                "rate limit",
                "rate_limit",
                "rate-limit",
                "ratelimit",
                "too many requests",
                "resource_exhausted",
            ]))
    {
        return class(K::RateLimit, true);
    }
    // 11
    if f.says(&["provider_disabled", "provider is disabled", "provider disabled"]) {
        return class(K::ProviderDisabled, false);
    }
    // 12. A certificate that is refused is no passing trouble of the network.
    let certificate = f.cause == Cause::Network && f.says(&["certificate"]);
    if !config
        && !certificate
        && (f.cause == Cause::Network
            || f.is(&[408, 502, 503, 504])
            || f.says_eof()
            || f.says(&[
                "deadline",
                "timed out",
                "timeout",
                "connection reset",
                "connection refused",
                "broken pipe",
                "stream error",
                "goaway",
                "unavailable",
            ]))
    {
        return class(K::Timeout, true);
    }
    // 13
    if config
        || certificate
        || f.cause == Cause::Unusable
        || f.is(&[400, 404, 405, 409, 410, 413, 414, 415, 422])
        || f.status.is_some_and(|s| (300..400).contains(&s))
        || f.says(&[
            "invalid_request",
            "invalid request",
            "invalid_argument",
            "not_found_error",
            "request_too_large",
        ])
    {
        return class(K::Config, false);
    }
    // 14
    if f.status.is_some_and(|s| s >= 500)
        || f.says(&["server error", "server_error", "internal", "api_error"])
    {
        return class(K::Generic, true);
    }
    // 15 and 16: the caller is gone, or nothing is known
    class(K::Generic, false)
}

/// Whether the provider does not know again what it gave with an earlier answer: an answer that it kept, or what it signed
/// and sealed, which a key of another account cannot open.
fn forgotten(f: &Facts) -> bool {
    let both = |what: &[&str], how: &[&str]| f.says(what) && f.says(how);
    f.says(&["previous_response_not_found", "invalid_encrypted_content"])
        || both(&["previous response", "item with id"], &["not found"])
        || (both(&["signature"], &["invalid", "not valid"]) && f.says(&["thinking", "thought"]))
}

/// The provider that a text speaks of, in the order of [`providers::PROVIDERS`].
fn guess(text: &str) -> Option<&'static providers::Provider> {
    let extra: &[(&str, &str)] = &[("vertex", "google")];
    providers::PROVIDERS.iter().filter(|p| p.name != providers::SCRIPTED).find(|p| {
        text.contains(p.name)
            || p.aliases.iter().any(|a| text.contains(a))
            || extra.iter().any(|(word, name)| *name == p.name && text.contains(word))
    })
}

fn message(kind: FailureKind, retryable: bool, name: &str, facts: &Facts) -> String {
    match kind {
        FailureKind::Overloaded => format!("{name} is overloaded at the moment."),
        FailureKind::RateLimit => format!("{name} is limiting how often it can be asked."),
        FailureKind::Timeout if facts.cause == Cause::Deadline => {
            format!("The request to {name} ran out of time before it was complete.")
        }
        FailureKind::Timeout if facts.cause == Cause::Incomplete => {
            format!("The answer of {name} broke off before it was complete.")
        }
        FailureKind::Timeout => format!("{name} cannot be reached at the moment."),
        FailureKind::StreamSilenceTimeout => format!("{name} has sent nothing for too long."),
        FailureKind::UsageLimit => {
            format!("The usage quota at {name} is used up. Check the billing of the account.")
        }
        FailureKind::Auth => format!("{name} refused the credential. Check the API key and its permissions."),
        FailureKind::Config => format!("{name} rejected the request. Check the model and its settings."),
        FailureKind::MissingKey => {
            format!("The API key for {name} is gone. Send the message again with a valid one.")
        }
        FailureKind::ProviderDisabled => format!("{name} is turned off. Contact an administrator."),
        FailureKind::ContentFilter => format!("A content filter of {name} withheld the answer."),
        FailureKind::Generic if facts.cause == Cause::Interrupted => {
            "The request was interrupted.".to_owned()
        }
        FailureKind::Generic if facts.cause == Cause::Cancelled => "The request was cancelled.".to_owned(),
        FailureKind::Generic if retryable => format!("{name} reported an error of its own."),
        FailureKind::Generic => format!("{name} failed in an unexpected way."),
    }
}

/// The failure for an answer that the provider's filter withheld: not an error on the wire, but a
/// finish reason.
#[must_use]
pub fn content_filtered(provider_type: &str) -> Failure {
    let facts =
        Facts { cause: Cause::Reported, status: None, text: String::new(), detail: None, retry_after: None };
    let kind = FailureKind::ContentFilter;
    Failure {
        kind,
        retryable: false,
        message: message(kind, false, providers::display_name(provider_type), &facts),
        detail: None,
        provider: provider_type.to_owned(),
        status_code: None,
        retry_after: None,
        chain_broken: false,
    }
}

fn cut(text: &str) -> String {
    text.trim().chars().take(MAX_DETAIL).collect()
}
