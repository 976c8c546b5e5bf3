//! The provider types: how each is called, which format it speaks, where it lies and where its key is.

use super::{
    failure::{Failure, FailureKind},
    request::WireFormat,
    secret::Secret,
    transport::{self, Endpoint},
};

/// How a key is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHeader {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// `x-api-key: KEY` (Anthropic).
    XApiKey,
    /// `api-key: KEY` (Azure).
    ApiKey,
}

/// One provider type.
#[derive(Debug, PartialEq, Eq)]
pub struct Provider {
    /// Name on the wire (api.md §2.12).
    pub name: &'static str,
    /// Name in messages to users.
    pub display_name: &'static str,
    /// Other names that are understood.
    pub aliases: &'static [&'static str],
    /// Format it speaks; `None` when chatd cannot talk to it.
    pub format: Option<WireFormat>,
    /// It also speaks OpenAI Responses.
    pub has_responses: bool,
    /// Where it lies, unless the administrator says otherwise.
    pub default_base_url: Option<&'static str>,
    /// How its key is presented.
    pub key_header: KeyHeader,
    /// It cannot be called without a key.
    pub key_required: bool,
    /// Environment variables that may hold a key, in order of preference.
    pub key_env: &'static [&'static str],
    /// Its block in `provider_options`.
    pub options_key: &'static str,
    /// Chat Completions of it takes PDF files.
    pub takes_pdf: bool,
    /// Raw bytes an inline image must stay below (workspace-and-providers.md §6.8).
    pub image_cap: Option<usize>,
}

/// The type that answers from a script. Only a configuration declares it, and it takes no key.
pub const SCRIPTED: &str = "scripted";

/// Marks an Azure address of one deployment: `https://HOST/openai/deployments/NAME?api-version=…`.
pub(super) const AZURE_DEPLOYMENTS: &str = "/openai/deployments/";

/// 5 MiB.
const ANTHROPIC_IMAGE_CAP: Option<usize> = Some(5 * 1024 * 1024);

const COMPATIBLE: Provider = Provider {
    name: "openai-compat",
    display_name: "OpenAI Compatible",
    aliases: &["openai-compatible", "openai_compat", "openai_compatible", "openaicompat"],
    format: Some(WireFormat::ChatCompletions),
    has_responses: false,
    default_base_url: None,
    key_header: KeyHeader::Bearer,
    key_required: false,
    key_env: &[],
    options_key: "openaicompat",
    takes_pdf: false,
    image_cap: None,
};

/// All types, in the order in which they are guessed from text (agent-loop.md §11.3).
pub static PROVIDERS: [Provider; 9] = [
    COMPATIBLE,
    Provider {
        name: "azure",
        display_name: "Azure OpenAI",
        aliases: &["azure-openai", "azure_openai"],
        has_responses: true,
        key_header: KeyHeader::ApiKey,
        key_required: true,
        key_env: &["AZURE_OPENAI_API_KEY"],
        options_key: "openai",
        takes_pdf: true,
        ..COMPATIBLE
    },
    Provider {
        name: "openrouter",
        display_name: "OpenRouter",
        aliases: &["open-router"],
        default_base_url: Some("https://openrouter.ai/api/v1"),
        key_required: true,
        key_env: &["OPENROUTER_API_KEY"],
        options_key: "openrouter",
        takes_pdf: true,
        ..COMPATIBLE
    },
    Provider {
        name: "bedrock",
        display_name: "AWS Bedrock",
        aliases: &["aws-bedrock", "aws_bedrock"],
        format: None,
        key_env: &["AWS_BEARER_TOKEN_BEDROCK"],
        options_key: "anthropic",
        image_cap: ANTHROPIC_IMAGE_CAP,
        ..COMPATIBLE
    },
    Provider {
        name: "vercel",
        display_name: "Vercel AI Gateway",
        aliases: &["vercel-ai-gateway", "ai-gateway"],
        default_base_url: Some("https://ai-gateway.vercel.sh/v1"),
        key_required: true,
        key_env: &["AI_GATEWAY_API_KEY", "VERCEL_API_KEY"],
        options_key: "vercel",
        takes_pdf: true,
        ..COMPATIBLE
    },
    Provider {
        name: "anthropic",
        display_name: "Anthropic",
        aliases: &["claude"],
        format: Some(WireFormat::AnthropicMessages),
        default_base_url: Some("https://api.anthropic.com"),
        key_header: KeyHeader::XApiKey,
        key_required: true,
        key_env: &["ANTHROPIC_API_KEY"],
        options_key: "anthropic",
        takes_pdf: true,
        image_cap: ANTHROPIC_IMAGE_CAP,
        ..COMPATIBLE
    },
    Provider {
        name: "google",
        display_name: "Google",
        aliases: &["gemini", "google-genai"],
        default_base_url: Some("https://generativelanguage.googleapis.com/v1beta/openai"),
        key_required: true,
        key_env: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        options_key: "google",
        ..COMPATIBLE
    },
    Provider {
        name: "openai",
        display_name: "OpenAI",
        aliases: &[],
        has_responses: true,
        default_base_url: Some("https://api.openai.com/v1"),
        key_required: true,
        key_env: &["OPENAI_API_KEY"],
        options_key: "openai",
        takes_pdf: true,
        ..COMPATIBLE
    },
    Provider { name: SCRIPTED, display_name: "Scripted model", aliases: &[], takes_pdf: true, ..COMPATIBLE },
];

/// The type of a name, however it is spelled.
#[must_use]
pub fn lookup(name: &str) -> Option<&'static Provider> {
    let name = name.trim().to_ascii_lowercase();
    PROVIDERS.iter().find(|p| p.name == name || p.aliases.contains(&name.as_str()))
}

/// The display name of a type; a generic noun for one that is not known.
#[must_use]
pub fn display_name(name: &str) -> &'static str {
    lookup(name).map_or("The model provider", |p| p.display_name)
}

impl Provider {
    /// The endpoint for a base URL and key as configured. `use_responses` is
    /// `openai_config.use_responses_api` of the model config.
    ///
    /// # Errors
    /// `config` for a type that is not supported or a base URL that is missing or wrong,
    /// `missing_key` without a key where one is needed.
    pub fn endpoint(
        &self,
        base_url: Option<&str>,
        api_key: Option<Secret>,
        use_responses: bool,
    ) -> Result<Endpoint, Failure> {
        let Some(own_format) = self.format else {
            let message = format!("{} is not supported by this version of chatd.", self.display_name);
            return Err(self.refusal(FailureKind::Config, message));
        };
        let configured = base_url.map(str::trim).filter(|b| !b.is_empty());
        let Some(base_url) = configured.or(self.default_base_url) else {
            let message =
                format!("{} needs a base URL. Set it in the provider's settings.", self.display_name);
            return Err(self.refusal(FailureKind::Config, message));
        };
        let api_key = api_key.filter(|k| !k.is_blank());
        if api_key.is_none() && self.key_required {
            let message =
                format!("There is no API key for {}. Add one and send the message again.", self.display_name);
            return Err(self.refusal(FailureKind::MissingKey, message));
        }
        // Azure's addresses of one deployment know Chat Completions only.
        let deployment = self.name == "azure" && base_url.contains(AZURE_DEPLOYMENTS);
        let responses = use_responses && self.has_responses && !deployment;
        let format = if responses { WireFormat::OpenaiResponses } else { own_format };
        let endpoint = Endpoint {
            provider_type: self.name.to_owned(),
            display_name: self.display_name.to_owned(),
            base_url: base_url.to_owned(),
            api_key,
            format,
            headers: Vec::new(),
            idle_timeout: transport::IDLE_TIMEOUT,
        };
        match endpoint.url() {
            Ok(_) => Ok(endpoint),
            Err(reason) => {
                let message = format!("The base URL of {} cannot be used: {reason}.", self.display_name);
                Err(self.refusal(FailureKind::Config, message))
            }
        }
    }

    /// The first key in the environment. `get` reads a variable: `|name| std::env::var(name).ok()`.
    pub fn key_from_env(&self, get: impl Fn(&str) -> Option<String>) -> Option<Secret> {
        self.key_env.iter().filter_map(|name| get(name)).map(Secret::new).find(|key| !key.is_blank())
    }

    fn refusal(&self, kind: FailureKind, message: String) -> Failure {
        Failure {
            kind,
            retryable: false,
            message,
            detail: None,
            provider: self.name.to_owned(),
            status_code: None,
            retry_after: None,
            chain_broken: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(name: &str, base: Option<&str>, responses: bool) -> String {
        let endpoint = lookup(name).unwrap().endpoint(base, Some("key-of-test".into()), responses).unwrap();
        endpoint.url().unwrap().to_string()
    }

    #[test]
    fn addresses_are_joined() {
        let cases = [
            ("openai", None, false, "https://api.openai.com/v1/chat/completions"),
            ("openai", None, true, "https://api.openai.com/v1/responses"),
            ("anthropic", None, true, "https://api.anthropic.com/v1/messages"),
            ("anthropic", Some("http://h/v1/"), false, "http://h/v1/messages"),
            ("anthropic", Some("http://h/proxy"), false, "http://h/proxy/v1/messages"),
            ("openrouter", None, false, "https://openrouter.ai/api/v1/chat/completions"),
            ("vercel", None, false, "https://ai-gateway.vercel.sh/v1/chat/completions"),
            (
                "google",
                None,
                false,
                "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
            ),
            (
                "azure",
                Some("https://r.openai.azure.com"),
                true,
                "https://r.openai.azure.com/openai/v1/responses",
            ),
            ("azure", Some("https://r/openai/v1/?v=1"), false, "https://r/openai/v1/chat/completions?v=1"),
            ("azure", Some("https://r/openai"), true, "https://r/openai/v1/responses"),
            (
                "azure",
                Some("https://r/openai/deployments/d?api-version=2024-10-21"),
                true,
                "https://r/openai/deployments/d/chat/completions?api-version=2024-10-21",
            ),
            (
                " OpenAI_Compatible ",
                Some("http://127.0.0.1:9/v1"),
                true,
                "http://127.0.0.1:9/v1/chat/completions",
            ),
        ];
        for (name, base, responses, expected) in cases {
            assert_eq!(url(name, base, responses), expected);
        }
    }

    #[test]
    fn what_cannot_work_is_said_before_the_call() {
        let kind = |name: &str, base, key: Option<&str>| {
            lookup(name).unwrap().endpoint(base, key.map(Secret::from), false).unwrap_err().kind
        };
        assert_eq!(kind("bedrock", None, Some("k")), FailureKind::Config);
        assert_eq!(kind("openai-compat", None, Some("k")), FailureKind::Config);
        assert_eq!(kind("openai", Some("ftp://x"), Some("k")), FailureKind::Config);
        assert_eq!(kind("openai", None, Some("  ")), FailureKind::MissingKey);
        assert!(lookup("copilot").is_none());
    }

    #[test]
    fn every_name_is_known_once() {
        let mut names: Vec<&str> =
            PROVIDERS.iter().flat_map(|p| p.aliases.iter().copied().chain([p.name])).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn keys_come_from_the_first_variable_that_has_one() {
        let key = lookup("google")
            .unwrap()
            .key_from_env(|n| Some(if n == "GEMINI_API_KEY" { " " } else { "b" }.into()));
        assert_eq!(key.unwrap().expose(), "b");
    }
}
