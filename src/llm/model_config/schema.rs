//! Which keys there are, and what each may hold (api.md §2.11).

use crate::{config::models::REASONING_EFFORTS, llm::request::WEB_SEARCH};

/// What a key may hold.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Bool,
    /// A whole number within these bounds, both included.
    Int(i64, i64),
    /// A number within these bounds, both included.
    Float(f64, f64),
    Text,
    /// One of these words, whatever its case.
    OneOf(&'static [&'static str]),
    /// A list of texts.
    Texts,
    AnyObject,
    Object(Keys),
    /// A list of objects.
    Objects(Keys),
}

pub type Keys = &'static [(&'static str, Kind)];

use Kind::{AnyObject, Bool, Float, Int, Object, Objects, OneOf, Text, Texts};

const COUNT: Kind = Int(1, i64::MAX);
const NOT_NEGATIVE: Kind = Int(0, i64::MAX);

/// Keys of `cost`, also accepted at the top.
pub const PRICES: &[&str] = &[
    "input_price_per_million_tokens",
    "output_price_per_million_tokens",
    "cache_read_price_per_million_tokens",
    "cache_write_price_per_million_tokens",
];

/// Keys at the top, but for prices and `provider_options`.
pub const TOP: Keys = &[
    ("max_output_tokens", COUNT),
    ("temperature", Float(0.0, 2.0)),
    ("top_p", Float(0.0, 1.0)),
    ("top_k", NOT_NEGATIVE),
    ("presence_penalty", Float(-2.0, 2.0)),
    ("frequency_penalty", Float(-2.0, 2.0)),
    ("reasoning_effort", Object(&[("default", EFFORT), ("max", EFFORT)])),
    ("openai_config", Object(&[("use_responses_api", Bool)])),
];

const EFFORT: Kind = OneOf(&REASONING_EFFORTS);
const OPENAI_EFFORT: Kind = OneOf(&["none", "minimal", "low", "medium", "high", "xhigh"]);
const LEVEL: Kind = OneOf(&["low", "medium", "high"]);

const REASONING: Kind =
    Object(&[("enabled", Bool), ("exclude", Bool), ("max_tokens", COUNT), ("effort", OPENAI_EFFORT)]);

/// The blocks of `provider_options`.
pub const OPTIONS: &[(&str, Keys)] = &[
    ("openai", OPENAI),
    ("anthropic", ANTHROPIC),
    ("google", GOOGLE),
    ("openaicompat", &[("user", Text), ("reasoning_effort", OPENAI_EFFORT)]),
    ("openrouter", OPENROUTER),
    ("vercel", VERCEL),
];

const OPENAI: Keys = &[
    ("include", Texts),
    ("instructions", Text),
    ("logit_bias", AnyObject),
    ("log_probs", Bool),
    ("top_log_probs", NOT_NEGATIVE),
    ("max_tool_calls", COUNT),
    ("parallel_tool_calls", Bool),
    ("user", Text),
    ("reasoning_effort", OPENAI_EFFORT),
    ("reasoning_summary", OneOf(&["auto", "concise", "detailed"])),
    ("max_completion_tokens", COUNT),
    ("text_verbosity", LEVEL),
    ("prediction", AnyObject),
    ("store", Bool),
    ("metadata", AnyObject),
    ("prompt_cache_key", Text),
    ("safety_identifier", Text),
    ("service_tier", OneOf(&["auto", "default", "flex", "scale", "priority"])),
    ("structured_outputs", Bool),
    ("strict_json_schema", Bool),
    (WEB_SEARCH, Bool),
    ("search_context_size", LEVEL),
    ("allowed_domains", Texts),
];

const ANTHROPIC: Keys = &[
    ("send_reasoning", Bool),
    ("thinking", Object(&[("budget_tokens", NOT_NEGATIVE)])),
    ("effort", OneOf(&["low", "medium", "high", "xhigh", "max"])),
    ("thinking_display", OneOf(&["summarized", "omitted"])),
    ("disable_parallel_tool_use", Bool),
    (WEB_SEARCH, Bool),
    ("allowed_domains", Texts),
    ("blocked_domains", Texts),
    ("context_1m_enabled", Bool),
];

const GOOGLE: Keys = &[
    (
        "thinking_config",
        // −1 leaves the budget to the model.
        Object(&[
            ("thinking_budget", Int(-1, i64::MAX)),
            ("include_thoughts", Bool),
            ("thinking_level", Text),
        ]),
    ),
    ("cached_content", Text),
    ("safety_settings", Objects(&[("category", Text), ("threshold", Text)])),
    ("threshold", Text),
    (WEB_SEARCH, Bool),
];

const OPENROUTER: Keys = &[
    ("reasoning", REASONING),
    ("extra_body", AnyObject),
    ("include_usage", Bool),
    ("logit_bias", AnyObject),
    ("log_probs", Bool),
    ("parallel_tool_calls", Bool),
    ("user", Text),
    (
        "provider",
        Object(&[
            ("order", Texts),
            ("allow_fallbacks", Bool),
            ("require_parameters", Bool),
            ("data_collection", Text),
            ("only", Texts),
            ("ignore", Texts),
            ("quantizations", Texts),
            ("sort", Text),
        ]),
    ),
];

const VERCEL: Keys = &[
    ("reasoning", REASONING),
    ("providerOptions", Object(&[("order", Texts), ("models", Texts)])),
    ("user", Text),
    ("logit_bias", AnyObject),
    ("logprobs", Bool),
    ("top_logprobs", NOT_NEGATIVE),
    ("parallel_tool_calls", Bool),
    ("extra_body", AnyObject),
];
