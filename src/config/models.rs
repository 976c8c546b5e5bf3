//! `[[models]]`: what people pick.

use super::units::{self, Price};
use serde::{Deserialize, Serialize};

/// What people pick. The meaning of the numbers: api.md §2.11.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// Unique; what people pick. Required.
    pub name: String,
    /// Shown to people. Default: `name`.
    #[serde(with = "units::optional")]
    pub display_name: Option<String>,
    /// Name of the provider that serves it. Required.
    pub provider: String,
    /// The provider's own name of the model. Required.
    pub model: String,
    /// Used where nobody picked one; at most one model is. Default: false.
    pub default: bool,
    /// False hides it and refuses its use. Default: true.
    pub enabled: bool,
    /// Tokens the model can read and write in one call. Default: 200000.
    pub context_limit: u64,
    /// Tokens the model may write in one call. Default: 16384.
    pub max_output_tokens: u64,
    /// Share of the context, in percent, at which the history is compacted; 100 = never.
    /// Default: `chat.compaction_threshold_percent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compaction_threshold: Option<u8>,
    /// Sampling temperature, 0 to 2. Default: the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1. Default: the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Number of candidates to sample from. Default: the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Presence penalty, -2 to 2. Default: the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Frequency penalty, -2 to 2. Default: the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// How long the model thinks, one of [`REASONING_EFFORTS`]. Default: the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// openai and azure: Responses (true) or Chat Completions (false). Default: Responses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_responses_api: Option<bool>,
    /// Dollars per million tokens read. Default: none, the cost is not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_price_per_million: Option<Price>,
    /// Dollars per million tokens written. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_price_per_million: Option<Price>,
    /// Dollars per million tokens read from the provider's cache. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_price_per_million: Option<Price>,
    /// Dollars per million tokens written to the provider's cache. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_price_per_million: Option<Price>,
    /// Options of one provider only: one table per provider (api.md §2.11). Default: none.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub provider_options: serde_json::Map<String, serde_json::Value>,
}

/// The words `reasoning_effort` knows; a provider leaves out those it does not have.
pub const REASONING_EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

impl Default for Model {
    fn default() -> Self {
        Self {
            name: String::new(),
            display_name: None,
            provider: String::new(),
            model: String::new(),
            default: false,
            enabled: true,
            context_limit: 200_000,
            max_output_tokens: 16_384,
            compaction_threshold: None,
            temperature: None,
            top_p: None,
            top_k: None,
            presence_penalty: None,
            frequency_penalty: None,
            reasoning_effort: None,
            use_responses_api: None,
            input_price_per_million: None,
            output_price_per_million: None,
            cache_read_price_per_million: None,
            cache_write_price_per_million: None,
            provider_options: serde_json::Map::new(),
        }
    }
}

impl Model {
    /// What people see.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.display_name.as_deref().unwrap_or(&self.name)
    }
}
