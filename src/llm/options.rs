//! Reading `provider_options` (api.md §2.11), and the name rules that all providers share.

use super::{object::Object, request::Request};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Longest tool name and call id that OpenAI accepts.
const MAX_NAME: usize = 64;

/// The options block of one provider; a block that is absent is empty.
#[derive(Clone, Copy)]
pub(super) struct Options<'a>(Option<&'a Map<String, Value>>);

impl<'a> Options<'a> {
    /// The block under `key`.
    pub(super) fn of(request: &'a Request, key: &str) -> Self {
        Self(request.provider_options.get(key).and_then(Value::as_object))
    }

    /// A value that is there and not null.
    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.0.and_then(|m| m.get(key)).filter(|v| !v.is_null())
    }

    /// A block inside the block.
    pub(super) fn nested(self, key: &str) -> Self {
        Self(self.get(key).and_then(Value::as_object))
    }

    /// A flag; absent is `None`.
    pub(super) fn flag(self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool)
    }

    /// A string that is not blank.
    pub(super) fn text(self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(Value::as_str).filter(|s| !s.trim().is_empty())
    }

    /// A list that is not empty.
    pub(super) fn list(self, key: &str) -> Option<&'a Vec<Value>> {
        self.get(key).and_then(Value::as_array).filter(|l| !l.is_empty())
    }

    /// Copies options into a body, each `(option, key of the body)`.
    pub(super) fn copy(self, body: &mut Object, keys: &[(&str, &str)]) {
        for (option, key) in keys {
            body.set_some(key, self.get(option));
        }
    }

    /// Adds what the administrator wrote in `extra_body`, never over a key that is already set.
    pub(super) fn extra_body(self, body: &mut Object) {
        for (key, value) in self.nested("extra_body").0.into_iter().flatten() {
            if !body.has(key) {
                body.set(key, value);
            }
        }
    }
}

/// The effort to ask for: the user's pick, else the configured one; `None` when the provider does not
/// know the value (workspace-and-providers.md §6.7).
pub(super) fn effort(request: &Request, configured: Option<&str>, known: &[&str]) -> Option<String> {
    let picked = request.reasoning_effort.as_deref().filter(|e| !e.trim().is_empty()).or(configured)?;
    let picked = picked.trim().to_ascii_lowercase();
    known.contains(&picked.as_str()).then_some(picked)
}

/// OpenAI's models that think before they answer; they refuse sampling parameters.
pub(super) fn is_openai_reasoning_model(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
    let o_series = name.strip_prefix('o').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let gpt5 = name.starts_with("gpt-5") && !name.contains("chat");
    o_series || gpt5 || name.starts_with("codex-")
}

/// A tool name that every provider accepts. Models invent names; one bad name in the history would
/// make every later request a 400.
pub(super) fn tool_name(name: &str) -> String {
    let mut clean: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).take(MAX_NAME).collect();
    if clean.is_empty() {
        clean.push_str("unknown");
    }
    clean
}

/// A call id that every provider accepts; the same id always gives the same result, so that call and
/// answer still meet.
pub(super) fn call_id(id: &str) -> String {
    let clean: String = id.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    if clean.is_empty() {
        return "call".to_owned();
    }
    if clean.len() <= MAX_NAME {
        return clean;
    }
    let digest = Sha256::digest(clean.as_bytes());
    let tail: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("{}_{tail}", &clean[..31])
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}
