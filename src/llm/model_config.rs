//! The `model_config` object of a model (api.md §2.11, workspace-and-providers.md §6.7): read for calls,
//! and checked when somebody writes it.

mod schema;
mod unknown;

pub use unknown::{Unknown, unknown_option};

use crate::{chat::json::Json, config::models::REASONING_EFFORTS};
use schema::{Kind, OPTIONS, PRICES, TOP};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Tokens a model may write when nobody said (workspace-and-providers.md §6.7).
pub const DEFAULT_MAX_OUTPUT_TOKENS: i64 = 32_000;

/// What a call needs of a `model_config`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallConfig {
    /// Tokens the model may write.
    pub max_output_tokens: Option<i64>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Number of candidates to sample from.
    pub top_k: Option<i64>,
    /// Presence penalty.
    pub presence_penalty: Option<f64>,
    /// Frequency penalty.
    pub frequency_penalty: Option<f64>,
    /// Effort unless the user picks one.
    pub reasoning_effort: Option<String>,
    /// Responses instead of Chat Completions.
    pub use_responses_api: Option<bool>,
    /// One block per provider.
    pub provider_options: Map<String, Value>,
}

impl CallConfig {
    /// Reads a stored object.
    ///
    /// # Errors
    /// When it is none, or holds other types.
    pub fn read(json: &Json) -> Result<Self, serde_json::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Stored {
            max_output_tokens: Option<i64>,
            temperature: Option<f64>,
            top_p: Option<f64>,
            top_k: Option<i64>,
            presence_penalty: Option<f64>,
            frequency_penalty: Option<f64>,
            reasoning_effort: Option<Effort>,
            openai_config: Option<Openai>,
            provider_options: Option<Map<String, Value>>,
        }
        #[derive(Deserialize)]
        struct Effort {
            default: Option<String>,
        }
        #[derive(Deserialize)]
        struct Openai {
            use_responses_api: Option<bool>,
        }
        let s: Stored = json.read()?;
        Ok(Self {
            max_output_tokens: s.max_output_tokens,
            temperature: s.temperature,
            top_p: s.top_p,
            top_k: s.top_k,
            presence_penalty: s.presence_penalty,
            frequency_penalty: s.frequency_penalty,
            reasoning_effort: s.reasoning_effort.and_then(|e| e.default),
            use_responses_api: s.openai_config.and_then(|o| o.use_responses_api),
            provider_options: s.provider_options.unwrap_or_default(),
        })
    }
}

/// A key that is wrong, by its path, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// As in `model_config.provider_options.openai.store`.
    pub path: String,
    /// A sentence.
    pub detail: String,
}

/// Checks an object that somebody wrote, and answers it as it is stored: only known keys, no nulls,
/// prices as strings below `cost`.
///
/// # Errors
/// The first key that is wrong.
pub fn normalise(given: &Map<String, Value>) -> Result<Map<String, Value>, Wrong> {
    let at = "model_config";
    let mut stored = object(given, TOP, at)?;
    let mut cost = Map::new();
    for key in PRICES {
        let nested = given.get("cost").and_then(|cost| cost.get(key)).filter(|v| !v.is_null());
        // The older place counts only without the newer one.
        let found = nested.map(|v| (format!("{at}.cost.{key}"), v));
        let found =
            found.or_else(|| Some((format!("{at}.{key}"), given.get(*key).filter(|v| !v.is_null())?)));
        if let Some((path, value)) = found {
            cost.insert((*key).to_owned(), price(&path, value)?);
        }
    }
    if let Some(value) = given.get("cost")
        && !(value.is_null() || value.is_object())
    {
        return Err(wrong(&format!("{at}.cost"), "expected an object"));
    }
    if !cost.is_empty() {
        stored.insert("cost".into(), Value::Object(cost));
    }
    efforts(&stored, at)?;
    if let Some(options) = given.get("provider_options").filter(|v| !v.is_null()) {
        let path = format!("{at}.provider_options");
        let options = options.as_object().ok_or_else(|| wrong(&path, "expected an object"))?;
        let mut blocks = Map::new();
        for (name, keys) in OPTIONS {
            let Some(block) = options.get(*name).filter(|v| !v.is_null()) else { continue };
            let path = format!("{path}.{name}");
            let block = block.as_object().ok_or_else(|| wrong(&path, "expected an object"))?;
            let block = object(block, keys, &path)?;
            let has_list =
                |key: &str| block.get(key).and_then(Value::as_array).is_some_and(|l| !l.is_empty());
            if *name == "anthropic" && has_list("allowed_domains") && has_list("blocked_domains") {
                return Err(wrong(
                    &format!("{path}.blocked_domains"),
                    "give either allowed_domains or blocked_domains",
                ));
            }
            blocks.insert((*name).to_owned(), Value::Object(block));
        }
        if !blocks.is_empty() {
            stored.insert("provider_options".into(), Value::Object(blocks));
        }
    }
    Ok(stored)
}

fn wrong(path: &str, detail: impl Into<String>) -> Wrong {
    Wrong { path: path.to_owned(), detail: detail.into() }
}

fn object(
    given: &Map<String, Value>,
    keys: &[(&'static str, Kind)],
    at: &str,
) -> Result<Map<String, Value>, Wrong> {
    let mut stored = Map::new();
    for (key, kind) in keys {
        if let Some(value) = given.get(*key).filter(|v| !v.is_null()) {
            stored.insert((*key).to_owned(), check(value, kind, &format!("{at}.{key}"))?);
        }
    }
    Ok(stored)
}

fn check(value: &Value, kind: &Kind, at: &str) -> Result<Value, Wrong> {
    match kind {
        Kind::Bool if value.is_boolean() => {}
        Kind::Bool => return Err(wrong(at, "expected true or false")),
        Kind::Int(low, high) => {
            if !value.as_i64().is_some_and(|n| (*low..=*high).contains(&n)) {
                let range =
                    if *high == i64::MAX { format!("{low} or more") } else { format!("{low} to {high}") };
                return Err(wrong(at, format!("expected a whole number, {range}")));
            }
        }
        Kind::Float(low, high) => {
            if !value.as_f64().is_some_and(|n| (*low..=*high).contains(&n)) {
                return Err(wrong(at, format!("expected a number from {low} to {high}")));
            }
        }
        Kind::Text if value.is_string() => {}
        Kind::Text => return Err(wrong(at, "expected a text")),
        Kind::OneOf(words) => {
            let word = value.as_str().map(|w| w.trim().to_ascii_lowercase()).unwrap_or_default();
            if !words.contains(&word.as_str()) {
                return Err(wrong(at, format!("expected one of {}", words.join(", "))));
            }
            return Ok(Value::String(word));
        }
        Kind::Texts => {
            let texts = value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
            if !texts {
                return Err(wrong(at, "expected a list of texts"));
            }
        }
        Kind::AnyObject if value.is_object() => {}
        Kind::AnyObject => return Err(wrong(at, "expected an object")),
        Kind::Object(keys) => {
            let given = value.as_object().ok_or_else(|| wrong(at, "expected an object"))?;
            return object(given, keys, at).map(Value::Object);
        }
        Kind::Objects(keys) => {
            let list = value.as_array().ok_or_else(|| wrong(at, "expected a list of objects"))?;
            let mut stored = Vec::new();
            for (n, item) in list.iter().enumerate() {
                let path = format!("{at}[{n}]");
                let given = item.as_object().ok_or_else(|| wrong(&path, "expected an object"))?;
                stored.push(Value::Object(object(given, keys, &path)?));
            }
            return Ok(Value::Array(stored));
        }
    }
    Ok(value.clone())
}

/// A decimal as a string, without exponent as in the configuration file; its range is judged by who computes with it.
fn price(path: &str, value: &Value) -> Result<Value, Wrong> {
    let plain = match value {
        Value::String(text) => text.trim().to_owned(),
        // JSON writes small and large numbers with an exponent; `f64` shows the same digits without.
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or(f64::NAN).to_string(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let (whole, part) = plain.split_once('.').unwrap_or((&plain, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits(whole) && digits(part) {
        Ok(Value::String(plain))
    } else {
        Err(wrong(path, "expected a decimal number such as \"0.25\", not negative and without exponent"))
    }
}

fn efforts(stored: &Map<String, Value>, at: &str) -> Result<(), Wrong> {
    let Some(effort) = stored.get("reasoning_effort") else { return Ok(()) };
    let rank = |key: &str| {
        let word = effort.get(key).and_then(Value::as_str)?;
        REASONING_EFFORTS.iter().position(|known| *known == word)
    };
    match (rank("default"), rank("max")) {
        (Some(default), Some(max)) if default <= max => Ok(()),
        (Some(_), Some(_)) => Err(wrong(&format!("{at}.reasoning_effort"), "default must not be above max")),
        _ => Err(wrong(&format!("{at}.reasoning_effort"), "expected both default and max")),
    }
}

#[cfg(test)]
mod tests;
