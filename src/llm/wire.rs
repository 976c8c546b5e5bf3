//! Decoders: from the events of a provider's stream to ours. Pure, so that they can be tested with any
//! bytes in any split; the socket is in [`super::transport`].

use super::{
    anthropic_messages, chat_completions,
    event::Event,
    openai_responses,
    providers::Provider,
    request::{Request, WireFormat},
};
use serde_json::Value;

/// Most blocks, items or calls of one answer. An answer with more is an attack or a loop.
pub(super) const MAX_BLOCKS: usize = 4096;

/// Longest id of a call that is kept, in bytes. Some gateways hide kilobytes of signatures in ids, which neither an index
/// nor a header has room for.
const MAX_CALL_ID: usize = 256;

/// Decoder of one answer.
pub trait Wire: Send {
    /// Takes one server-sent event and appends what it means.
    ///
    /// # Errors
    /// When the provider reports a failure or the event is not what the format says. The stream is
    /// over then.
    fn feed(&mut self, event_name: &str, data: &str, out: &mut Vec<Event>) -> Result<(), WireError>;

    /// The bytes have ended. A format that does not insist on a terminal event completes here.
    fn end(&mut self, out: &mut Vec<Event>) {
        let _ = out;
    }

    /// The answer is complete as far as it was said; only usage or an end mark may follow.
    fn ending(&self) -> bool {
        false
    }

    /// The terminal event was seen and [`Event::Finish`] was given.
    fn done(&self) -> bool;
}

/// Why an answer cannot be decoded further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The provider reported a failure inside of the stream.
    #[error("the provider reported {code:?}: {message}")]
    Provider {
        /// Status, when it named one.
        status: Option<u16>,
        /// Its code or type.
        code: Option<String>,
        /// Its words.
        message: String,
    },
    /// Not an event of this format.
    #[error("malformed stream event: {0}")]
    Malformed(String),
}

impl From<serde_json::Error> for WireError {
    fn from(e: serde_json::Error) -> Self {
        Self::Malformed(e.to_string())
    }
}

impl WireError {
    /// Reads an error object: `{"error": {"message", "type", "code"}}`, its inside, or a bare string.
    /// Numeric codes (OpenRouter) are HTTP statuses.
    pub(super) fn from_value(value: &Value) -> Self {
        let inner = value.get("error").filter(|e| !e.is_null()).unwrap_or(value);
        let status_in = |key: &str| {
            let value = inner.get(key)?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        };
        let status = status_in("code").or_else(|| status_in("status"));
        let words: Vec<&str> =
            ["type", "code", "status"].iter().filter_map(|k| inner.get(k).and_then(Value::as_str)).collect();
        let message = inner
            .get("message")
            .and_then(Value::as_str)
            .or_else(|| inner.as_str())
            .map_or_else(|| inner.to_string(), str::to_owned);
        let message = with_upstream(message, inner);
        Self::Provider {
            status: status.and_then(|s| u16::try_from(s).ok()).filter(|s| (400..600).contains(s)),
            code: (!words.is_empty()).then(|| words.join(" ")),
            message,
        }
    }
}

/// OpenRouter says "Provider returned error" and keeps the words of the provider behind it in
/// `metadata.raw`, which is what a person needs and what the rules of classification look at.
pub(super) fn with_upstream(message: String, error: &Value) -> String {
    match error.pointer("/metadata/raw").and_then(Value::as_str).map(str::trim).filter(|r| !r.is_empty()) {
        Some(raw) => format!("{message}: {raw}"),
        None => message,
    }
}

/// The decoder of a format. `model` is the name that was asked for; `salt` makes call ids unique where
/// a provider sends none.
#[must_use]
pub fn decoder(format: WireFormat, model: &str, salt: &str) -> Box<dyn Wire> {
    match format {
        WireFormat::AnthropicMessages => Box::new(anthropic_messages::Decoder::new(model, salt)),
        WireFormat::ChatCompletions => Box::new(chat_completions::Decoder::new(model, salt)),
        WireFormat::OpenaiResponses => Box::new(openai_responses::Decoder::new(model, salt)),
    }
}

/// The id of the call at place `at` of an answer: what the provider calls it, unless it says nothing or far too much, or
/// repeats itself. A result finds its call by this id, so two calls of one id would get one result.
pub(super) fn call_id<'a>(
    said: Option<String>,
    mut others: impl Iterator<Item = &'a str>,
    salt: &str,
    at: usize,
) -> String {
    match said.filter(|id| (1..=MAX_CALL_ID).contains(&id.len())) {
        None => format!("call_{salt}_{at}"),
        Some(id) if others.any(|other| other == id) => format!("{id}_{at}"),
        Some(id) => id,
    }
}

/// Whether the provider keeps the answer to a request, so that a later one can go on from it.
#[must_use]
pub fn keeps_answers(format: WireFormat, provider: &Provider, request: &Request) -> bool {
    match format {
        WireFormat::AnthropicMessages | WireFormat::ChatCompletions => false,
        WireFormat::OpenaiResponses => openai_responses::keeps_answers(provider, request),
    }
}

/// The request body in a format.
#[must_use]
pub fn encode(format: WireFormat, provider: &Provider, request: &Request) -> Vec<u8> {
    match format {
        WireFormat::AnthropicMessages => anthropic_messages::encode(request),
        WireFormat::ChatCompletions => chat_completions::encode(provider, request),
        WireFormat::OpenaiResponses => openai_responses::encode(provider, request),
    }
}

/// Largest positive number under a key that names a context window (agent-loop.md §7). `skip` names
/// keys whose values the model wrote and may have filled with anything.
pub(super) fn context_limit(value: &Value, skip: &[&str]) -> Option<i64> {
    const KEYS: [&str; 7] = [
        "contextlimit",
        "contextwindow",
        "contextlength",
        "maxcontext",
        "maxcontexttokens",
        "maxinputtokens",
        "inputtokenlimit",
    ];
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !skip.contains(&key.as_str()))
            .filter_map(|(key, inner)| {
                let bare: String =
                    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
                let here = KEYS.contains(&bare.as_str()).then(|| number(inner)).flatten();
                here.filter(|n| *n > 0).max(context_limit(inner, skip))
            })
            .max(),
        Value::Array(list) => list.iter().filter_map(|v| context_limit(v, skip)).max(),
        _ => None,
    }
}

/// A whole number, however the provider wrote it; zero when absent is for the caller to choose.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and token counts are far below 2^53")]
pub(super) fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|f| f as i64))
}

/// The token count at a JSON pointer, zero when absent or negative.
pub(super) fn tokens(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(number).unwrap_or(0).max(0)
}
