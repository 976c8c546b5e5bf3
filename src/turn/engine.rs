//! What a turn needs besides the chat: the models, the tools, the limits. Built once at start.

use super::{compact::Limits, cost::Prices, project::Project, retry::Policy};
use crate::{
    chat::{json::Json, message::StepFigures},
    ids::{ModelConfigId, UserId},
    llm::{
        Endpoint,
        catalog::{LiveCatalog, ModelEntry},
        failure::{Failure, FailureKind},
        model_config::DEFAULT_MAX_OUTPUT_TOKENS,
        request::{Request, ToolSpec},
    },
    store::{
        records::ChatRecord,
        settings::UserSettings,
        spend::{CallKind, ModelCall},
    },
    tools::{
        offer::{self, TurnKind},
        registry::Registry,
    },
};
use std::{cell::OnceCell, sync::Arc, time::Duration};

/// A configured model, ready to be called.
#[derive(Debug, Clone)]
pub struct ModelChoice {
    /// The model config.
    pub id: ModelConfigId,
    /// Name people pick.
    pub name: String,
    /// Wire name of the provider type, also a metric label.
    pub provider_type: String,
    /// Where it is asked, or why it cannot be.
    pub endpoint: Result<Endpoint, Failure>,
    /// Context window in tokens.
    pub context_limit: Option<i64>,
    /// Compaction threshold in percent.
    pub compaction_threshold: Option<i64>,
    /// The threshold that the chat's owner has set for this model, which goes before.
    pub user_threshold: Option<i64>,
    /// Prices.
    pub prices: Prices,
    /// Everything of a request that does not depend on the chat: model name, limits, options.
    pub defaults: Request,
    /// Raw bytes an inline image must stay below.
    pub image_cap: Option<usize>,
    /// Configs of models of the same name at other providers: what a provider signed there means nothing to this one.
    pub strangers: Arc<[ModelConfigId]>,
}

impl ModelChoice {
    /// A model as it is called for a user, with that user's key if there is one.
    #[must_use]
    pub fn of(entry: &ModelEntry, user: UserId) -> Self {
        let (record, call, kind) = (&entry.record, &entry.call, entry.provider.kind());
        let prices = Prices::from_model_config(&record.model_config).unwrap_or_else(|e| {
            tracing::error!(model = %record.id, error = %e, "the prices of a model cannot be read");
            Prices::default()
        });
        Self {
            id: record.id,
            name: entry.display_name().to_owned(),
            provider_type: kind.map_or(entry.provider.record.kind.as_str(), |k| k.name).to_owned(),
            endpoint: entry.endpoint(user),
            context_limit: Some(record.context_limit).filter(|l| *l > 0),
            compaction_threshold: Some(record.compression_threshold),
            user_threshold: None,
            prices,
            image_cap: kind.and_then(|k| k.image_cap),
            strangers: Arc::default(),
            defaults: Request {
                model: record.model.clone(),
                max_output_tokens: Some(call.max_output_tokens.unwrap_or(DEFAULT_MAX_OUTPUT_TOKENS)),
                temperature: call.temperature,
                top_p: call.top_p,
                top_k: call.top_k,
                presence_penalty: call.presence_penalty,
                frequency_penalty: call.frequency_penalty,
                reasoning_effort: call.reasoning_effort.clone(),
                provider_options: call.provider_options.clone(),
                ..Request::default()
            },
        }
    }

    /// Whether it can be called as it is now.
    #[must_use]
    pub const fn usable(&self) -> bool {
        self.endpoint.is_ok()
    }

    /// A call of it that came to its end, for the ledger.
    #[must_use]
    pub fn called(&self, kind: CallKind, figures: &StepFigures) -> ModelCall {
        ModelCall {
            kind,
            model_config_id: self.id,
            provider: self.provider_type.clone(),
            model: self.defaults.model.clone(),
            figures: figures.clone(),
        }
    }

    /// What compaction goes by.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            user_threshold: self.user_threshold,
            model_threshold: self.compaction_threshold,
            context_limit: self.context_limit,
            model_config_id: Some(self.id),
        }
    }
}

/// What the turns of a replica share.
#[derive(Clone)]
pub struct TurnEngine {
    /// Models and providers, as they are now.
    pub catalog: Arc<LiveCatalog>,
    /// `worker.max_steps`.
    pub max_steps: usize,
    /// Retry policy with `worker.max_attempts`.
    pub policy: Policy,
    /// `worker.tool_result_timeout`.
    pub tool_result_timeout: Duration,
}

thread_local! {
    // A connection lives on the runtime that opened it: one client a thread keeps them together.
    static CLIENT: OnceCell<reqwest::Client> = const { OnceCell::new() };
}

/// The HTTP client of this thread.
///
/// # Errors
/// When the TLS backend cannot be set up.
pub fn client() -> reqwest::Result<reqwest::Client> {
    CLIENT.with(|cell| {
        if let Some(client) = cell.get() {
            return Ok(client.clone());
        }
        let client = crate::llm::client()?;
        Ok(cell.get_or_init(|| client).clone())
    })
}

impl TurnEngine {
    /// The model of a chat: its own, else the default when its own is gone; called with what the chat's
    /// owner may use. Ask once for a pass: later answers may differ.
    ///
    /// # Errors
    /// A failure for the user when there is none, or it is switched off.
    pub fn model(&self, id: ModelConfigId, owner: UserId) -> Result<Arc<ModelChoice>, Failure> {
        let catalog = self.catalog.current();
        match catalog.model_or_default(id) {
            Some(entry) if entry.record.enabled => {
                let strange = |other: &&Arc<ModelEntry>| {
                    other.record.model == entry.record.model && other.provider.id() != entry.provider.id()
                };
                let strangers = catalog.models().iter().filter(strange).map(|other| other.id()).collect();
                Ok(Arc::new(ModelChoice { strangers, ..ModelChoice::of(entry, owner) }))
            }
            Some(entry) => Err(config_failure(format!(
                "The model {:?} ({}) is disabled. Choose another one.",
                entry.display_name(),
                entry.id()
            ))),
            None => {
                Err(config_failure("The chat's model no longer exists and there is no default model.".into()))
            }
        }
    }

    /// Every enabled model as this user may call it.
    #[must_use]
    pub fn models(&self, user: UserId) -> Vec<Arc<ModelChoice>> {
        let catalog = self.catalog.current();
        let enabled = catalog.models().iter().filter(|entry| entry.record.enabled);
        enabled.map(|entry| Arc::new(ModelChoice::of(entry, user))).collect()
    }

    /// The tools of a turn: the built-in ones, then the chat's client-run ones, which only a turn out of plan mode has.
    /// `own` is of the chat's owner, `project` what the workspace says of itself; `workspaces`: whether chats can have one.
    ///
    /// # Errors
    /// When the stored definitions of client-run tools cannot be read.
    pub fn tools(
        &self,
        chat: &ChatRecord,
        own: &UserSettings,
        project: Option<&Project>,
        workspaces: bool,
    ) -> Result<Registry, serde_json::Error> {
        #[derive(serde::Deserialize)]
        struct Declared {
            name: String,
            #[serde(default)]
            description: String,
            input_schema: Json,
        }
        let mut registry = Registry::new(offer::built_in(TurnKind {
            child: chat.parent_chat_id.is_some(),
            plan: chat.plan_mode.is_some(),
            workspaces,
            personal_skills: !own.skills.is_empty(),
            workspace_skills: project.map(|project| project.skills.as_slice()).unwrap_or_default().into(),
        }));
        if let Some(json) = chat.dynamic_tools.as_ref().filter(|_| chat.plan_mode.is_none()) {
            let declared: Vec<Declared> = json.read()?;
            let specs = declared
                .into_iter()
                .map(|d| ToolSpec {
                    name: d.name,
                    description: d.description,
                    input_schema: ToolSpec::declared_schema(d.input_schema),
                })
                .collect();
            for lost in registry.add_dynamic(specs) {
                tracing::warn!(
                    tool = lost,
                    "a client-run tool has the name of a built-in one and is hidden by it"
                );
            }
        }
        Ok(registry)
    }
}

pub(super) fn config_failure(message: String) -> Failure {
    Failure {
        kind: FailureKind::Config,
        retryable: false,
        message,
        detail: None,
        provider: String::new(),
        status_code: None,
        retry_after: None,
        chain_broken: false,
    }
}
