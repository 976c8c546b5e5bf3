//! `[[providers]]`: who serves models.

use super::{
    secret::{Secret, mask_one},
    units::{self, Endpoint},
};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::path::PathBuf;

/// Who serves models. What is declared here is kept in step at start; more come through the API.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// Unique; lower-case letters and digits, with single dashes between. Required.
    pub name: String,
    /// Shown to people. Default: `name`.
    #[serde(with = "units::optional")]
    pub display_name: Option<String>,
    /// Which API it speaks. Default: openai-compatible.
    #[serde(rename = "type")]
    pub kind: ProviderKind,
    /// False keeps the declaration and refuses its use. Default: true.
    pub enabled: bool,
    /// The key in clear; better one of the next two. At most one of the three.
    #[serde(serialize_with = "mask_one", skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// Environment variable that holds the key. Default: the usual one of the type
    /// ([`ProviderKind::usual_key_env`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// File that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<PathBuf>,
    /// Another address than the vendor's. Required for openai-compatible and azure.
    #[serde(with = "units::optional")]
    pub base_url: Option<Endpoint>,
    /// scripted only: the file with the script. Default: the built-in script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<PathBuf>,
    /// The key, from wherever it was found; none when there is none to be found.
    #[serde(skip)]
    pub key: Option<Secret>,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            name: String::new(),
            display_name: None,
            kind: ProviderKind::OpenaiCompatible,
            enabled: true,
            api_key: None,
            api_key_env: None,
            api_key_file: None,
            base_url: None,
            script: None,
            key: None,
        }
    }
}

/// Which API a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Responses, or Chat Completions.
    Openai,
    /// Chat Completions of somebody else.
    OpenaiCompatible,
    /// OpenAI on Azure.
    Azure,
    /// Gemini.
    Google,
    /// OpenRouter.
    Openrouter,
    /// Vercel's AI Gateway.
    Vercel,
    /// No model at all: answers from a script, for trying out and for tests.
    Scripted,
}

impl ProviderKind {
    const NAMES: &'static [&'static str] =
        &["anthropic", "openai", "openai-compatible", "azure", "google", "openrouter", "vercel", "scripted"];

    /// Those whose key has a usual variable.
    pub const VENDORS: [Self; 6] =
        [Self::Anthropic, Self::Openai, Self::Openrouter, Self::Vercel, Self::Azure, Self::Google];

    /// The environment variable in which this vendor's key is usually found.
    #[must_use]
    pub fn usual_key_env(self) -> Option<&'static str> {
        match self {
            Self::Anthropic => Some("ANTHROPIC_API_KEY"),
            Self::Openai => Some("OPENAI_API_KEY"),
            Self::Openrouter => Some("OPENROUTER_API_KEY"),
            Self::Vercel => Some("AI_GATEWAY_API_KEY"),
            Self::Azure => Some("AZURE_OPENAI_API_KEY"),
            Self::Google => Some("GEMINI_API_KEY"),
            Self::OpenaiCompatible | Self::Scripted => None,
        }
    }

    /// The type's name in configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Openai => "openai",
            Self::OpenaiCompatible => "openai-compatible",
            Self::Azure => "azure",
            Self::Google => "google",
            Self::Openrouter => "openrouter",
            Self::Vercel => "vercel",
            Self::Scripted => "scripted",
        }
    }
}

/// By hand, so that "bedrock" is told apart from a word that nobody knows.
impl<'de> Deserialize<'de> for ProviderKind {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let word = String::deserialize(d)?;
        Ok(match word.as_str() {
            "anthropic" => Self::Anthropic,
            "openai" => Self::Openai,
            // The second spelling is the one of the API (api.md §2.12).
            "openai-compatible" | "openai-compat" => Self::OpenaiCompatible,
            "azure" => Self::Azure,
            "google" => Self::Google,
            "openrouter" => Self::Openrouter,
            "vercel" => Self::Vercel,
            "scripted" => Self::Scripted,
            "bedrock" => {
                return Err(de::Error::custom(
                    "\"bedrock\" is not supported yet; reach its models through an openai-compatible gateway",
                ));
            }
            other => return Err(de::Error::unknown_variant(other, Self::NAMES)),
        })
    }
}
