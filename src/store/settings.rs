//! What administrators and users set while the daemon runs (api.md §2.13): one type a setting, named as on
//! the wire, with its default. A setting that was never set has no row.

pub mod live;
mod models;

pub use live::LiveSettings;
pub use models::{ModelOverride, ModelUse, OverrideMode, PersonalOverride, PersonalUse};

use crate::{
    chat::json::Json,
    config::chat::{Chat, DebugRuns},
    ids::{ModelConfigId, TemplateId},
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Days in which whatever is counted in days may be counted: ten years (api.md §2.13).
pub const MAX_DAYS: i64 = 3650;

/// A setting of the deployment.
pub trait Setting: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Names its row.
    const KEY: &'static str;

    /// Its value among all.
    fn of(all: &Deployment) -> &Self;
}

/// Settings that are one key with one value.
macro_rules! single {
    ($($(#[$doc:meta])* $name:ident { $(#[$about:meta])* $field:ident: $ty:ty = $default:expr })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
        pub struct $name {
            $(#[$about])*
            pub $field: $ty,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $field: $default }
            }
        }
    )* };
}

single! {
    /// What the administrator tells models in plan mode.
    PlanModeInstructions {
        /// Empty: nothing.
        plan_mode_instructions: String = String::new()
    }
    /// Templates that workspaces may be built from.
    TemplateAllowlist {
        /// Empty: all of them.
        #[serde(deserialize_with = "nullable")]
        template_ids: Vec<TemplateId> = Vec::new()
    }
    /// Whether users may pick models of their own for what nobody picks a model for.
    PersonalModelOverrides {
        /// Yes or no.
        allow_users: bool = false
    }
    /// Whether agents may use a desktop.
    DesktopEnabled {
        /// Yes or no.
        enable_desktop: bool = false
    }
    /// Whose models use a desktop.
    ComputerUseProvider {
        /// `anthropic` or `openai`.
        provider: String = "anthropic".into()
    }
    /// Whether users may have their model calls recorded.
    DebugLogging {
        /// Yes or no.
        allow_users: bool = false
    }
    /// How long a workspace that a chat created lives.
    WorkspaceTtl {
        /// Milliseconds; 0: as the template says.
        #[schema(minimum = 0, maximum = 2_592_000_000_i64)]
        workspace_ttl_ms: i64 = 0
    }
    /// How long archived chats are kept.
    RetentionDays {
        /// Days since a chat was archived; 0: for ever.
        #[schema(minimum = 0, maximum = 3650)]
        retention_days: i64 = 30
    }
    /// How long records of model calls are kept.
    DebugRetentionDays {
        /// Days; 0: for ever.
        #[schema(minimum = 0, maximum = 3650)]
        debug_retention_days: i64 = 30
    }
    /// When a chat in which nothing happens is archived.
    AutoArchiveDays {
        /// Days without a message; 0: never.
        #[schema(minimum = 0, maximum = 3650)]
        auto_archive_days: i64 = 0
    }
    /// What a user tells every model.
    UserPrompt {
        /// Empty: nothing.
        custom_prompt: String = String::new()
    }
    /// Whether a user's model calls are to be recorded.
    UserDebugLogging {
        /// Yes or no.
        debug_logging_enabled: bool = false
    }
}

/// `deserialize_with` of a list that must be there: `null` is how some languages write an empty one.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// What the administrator tells every model. Stored with a chat when it is created.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct SystemPrompt {
    /// Empty: nothing.
    pub system_prompt: String,
    /// Whether the built-in prompt goes before it.
    pub include_default_system_prompt: bool,
}

impl Default for SystemPrompt {
    fn default() -> Self {
        Self { system_prompt: String::new(), include_default_system_prompt: true }
    }
}

/// The model that other models may ask for advice.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Advisor {
    /// Whether there is one.
    pub enabled: bool,
    /// Questions of one turn; 0: no limit of its own.
    #[schema(minimum = 0)]
    pub max_uses_per_run: i64,
    /// Tokens of an answer; 0: the built-in limit.
    #[schema(minimum = 0)]
    pub max_output_tokens: i64,
    /// How long it thinks; left out: as its model is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// Its model; the nil UUID: the chat's.
    pub model_config_id: ModelConfigId,
}

impl Default for Advisor {
    fn default() -> Self {
        Self {
            enabled: false,
            max_uses_per_run: 0,
            max_output_tokens: 0,
            reasoning_effort: None,
            model_config_id: ModelConfigId(uuid::Uuid::nil()),
        }
    }
}

macro_rules! deployment {
    ($($(#[$doc:meta])* $field:ident: $ty:ident = $key:literal;)*) => {
        /// Every setting of the deployment.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Deployment {
            $($(#[$doc])* pub $field: $ty,)*
            /// Models for what nobody picks a model for.
            pub model_overrides: BTreeMap<ModelUse, ModelOverride>,
            /// `chat.debug_runs = "on"`: all model calls are recorded, whatever anybody sets.
            pub debug_forced: bool,
        }

        impl Deployment {
            fn take(&mut self, key: &str, value: &Json) -> Result<(), serde_json::Error> {
                match key {
                    $($key => self.$field = value.read()?,)*
                    _ => if let Some(of) = ModelUse::of_key(key) {
                        self.model_overrides.insert(of, value.read()?);
                    }
                }
                Ok(())
            }
        }

        $(impl Setting for $ty {
            const KEY: &'static str = $key;
            fn of(all: &Deployment) -> &Self {
                &all.$field
            }
        })*
    };
}

deployment! {
    /// What every model is told.
    system_prompt: SystemPrompt = "system-prompt";
    /// What models are told in plan mode.
    plan_mode_instructions: PlanModeInstructions = "plan-mode-instructions";
    /// What workspaces may be built from.
    template_allowlist: TemplateAllowlist = "template-allowlist";
    /// Whom models may ask.
    advisor: Advisor = "advisor";
    /// Whether users may pick models of their own.
    personal_model_overrides: PersonalModelOverrides = "personal-model-overrides";
    /// Whether agents may use a desktop.
    desktop: DesktopEnabled = "desktop-enabled";
    /// Whose models use it.
    computer_use_provider: ComputerUseProvider = "computer-use-provider";
    /// Whether users may have model calls recorded.
    debug_logging: DebugLogging = "debug-logging";
    /// How long workspaces live.
    workspace_ttl: WorkspaceTtl = "workspace-ttl";
    /// How long archived chats are kept.
    retention: RetentionDays = "retention-days";
    /// How long records of model calls are kept.
    debug_retention: DebugRetentionDays = "debug-retention-days";
    /// When idle chats are archived.
    auto_archive: AutoArchiveDays = "auto-archive-days";
}

impl Deployment {
    /// What holds where nobody has set anything: `[chat]` of the configuration, else the built-in defaults.
    #[must_use]
    pub fn declared(chat: &Chat) -> Self {
        Self {
            auto_archive: AutoArchiveDays { auto_archive_days: chat.auto_archive_days.into() },
            debug_retention: DebugRetentionDays { debug_retention_days: chat.debug_retention_days.into() },
            debug_logging: DebugLogging { allow_users: chat.debug_runs == DebugRuns::PerUser },
            debug_forced: chat.debug_runs == DebugRuns::On,
            ..Self::default()
        }
    }

    /// Whether anybody's model calls may be recorded at all.
    #[must_use]
    pub const fn debug_allowed(&self) -> bool {
        self.debug_forced || self.debug_logging.allow_users
    }

    /// The same with what is stored. A value that cannot be read counts as never set, and is told.
    fn with(mut self, rows: &[(String, Json)]) -> Self {
        for (key, value) in rows {
            if let Err(e) = self.take(key, value) {
                tracing::error!(key, error = %e, "a stored setting cannot be read; set it again");
            }
        }
        self
    }

    /// The model that an administrator has set for something.
    #[must_use]
    pub fn model_for(&self, of: ModelUse) -> Option<ModelConfigId> {
        self.model_overrides.get(&of).map(|set| set.model_config_id)
    }
}

/// Everything a user has set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserSettings {
    /// What every model is told.
    pub prompt: UserPrompt,
    /// Whether model calls are to be recorded.
    pub debug_logging: UserDebugLogging,
    /// Models for what nobody picks a model for.
    pub overrides: BTreeMap<PersonalUse, PersonalOverride>,
    /// Compaction thresholds in percent; 100: never.
    pub thresholds: BTreeMap<ModelConfigId, i64>,
    /// What their models can read before they do something, by name.
    pub skills: Vec<SkillEntry>,
}

/// A skill as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkillEntry {
    /// Its name.
    pub name: String,
    /// What it is good for; may be empty.
    pub description: String,
}

/// What the store has of a user: settings by name, and compaction thresholds in percent by model.
type OfUser = (Vec<(String, Json)>, Vec<(ModelConfigId, i64)>);

impl UserSettings {
    /// Row of the prompt.
    pub const PROMPT: &'static str = "user-prompt";
    /// Row of the switch for recording.
    pub const DEBUG_LOGGING: &'static str = "debug-logging";

    fn read((rows, thresholds): OfUser) -> Self {
        let mut all = Self { thresholds: thresholds.into_iter().collect(), ..Self::default() };
        for (key, value) in &rows {
            if let Err(e) = all.take(key, value) {
                tracing::error!(key, error = %e, "a stored setting of a user cannot be read; set it again");
            }
        }
        all
    }

    fn take(&mut self, key: &str, value: &Json) -> Result<(), serde_json::Error> {
        match key {
            Self::PROMPT => self.prompt = value.read()?,
            Self::DEBUG_LOGGING => self.debug_logging = value.read()?,
            _ => {
                if let Some(of) = PersonalUse::of_key(key) {
                    self.overrides.insert(of, value.read()?);
                }
            }
        }
        Ok(())
    }

    /// The model a user wants for new chats, if it is their own choice, with the effort.
    #[must_use]
    pub fn root_model(&self) -> Option<(ModelConfigId, Option<&str>)> {
        let own = self.overrides.get(&PersonalUse::Root).filter(|o| o.mode == OverrideMode::Model)?;
        own.model_config_id.map(|id| (id, own.reasoning_effort.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(list: &[(&str, &str)]) -> Vec<(String, Json)> {
        list.iter()
            .map(|(key, value)| ((*key).to_owned(), Json::parse((*value).to_owned()).unwrap()))
            .collect()
    }

    #[test]
    fn stored_values_go_before_the_configuration_and_that_before_the_defaults() {
        let chat = Chat { auto_archive_days: 9, debug_runs: DebugRuns::PerUser, ..Chat::default() };
        let declared = Deployment::declared(&chat);
        assert_eq!(declared.auto_archive.auto_archive_days, 9);
        assert!(declared.debug_logging.allow_users && !declared.debug_forced);
        assert_eq!(declared.retention.retention_days, 30);
        let id = uuid::Uuid::from_u128(7);
        let stored = rows(&[
            ("auto-archive-days", r#"{"auto_archive_days":0}"#),
            ("retention-days", r#"{"retention_days":"many"}"#),
            ("model-override/title_generation", &format!(r#"{{"model_config_id":"{id}"}}"#)),
            ("of a newer program", "1"),
        ]);
        let all = declared.with(&stored);
        assert_eq!((all.auto_archive.auto_archive_days, all.retention.retention_days), (0, 30));
        assert_eq!(all.model_for(ModelUse::TitleGeneration), Some(ModelConfigId(id)));
        assert_eq!(all.model_for(ModelUse::General), None);
    }

    #[test]
    fn only_a_model_of_ones_own_is_a_model() {
        let id = uuid::Uuid::from_u128(7);
        let with =
            |json: String| UserSettings::read((rows(&[("personal-model-override/root", &json)]), vec![]));
        let own = with(format!(r#"{{"mode":"model","model_config_id":"{id}","reasoning_effort":"low"}}"#));
        assert_eq!(own.root_model(), Some((ModelConfigId(id), Some("low"))));
        assert_eq!(with(r#"{"mode":"chat_default"}"#.into()).root_model(), None);
    }
}
