//! What each setting of the deployment takes and shows.

use super::{Exposed, Hidden, Plain, effort, prompt, settable};
use crate::{
    api::{
        problem::{Problem, Result},
        state::ApiState,
    },
    ids::TemplateId,
    store::settings::{
        Advisor, AutoArchiveDays, ComputerUseProvider, DebugLogging, DebugRetentionDays, Deployment,
        DesktopEnabled, MAX_DAYS, PersonalModelOverrides, PlanModeInstructions, RetentionDays, SystemPrompt,
        TemplateAllowlist, WorkspaceTtl,
    },
    turn::prompt::instructions::DEFAULT_SYSTEM_PROMPT,
};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, ops::RangeInclusive};
use utoipa::ToSchema;

/// Shortest and longest life of a workspace in milliseconds: a minute and 30 days (api.md §2.13).
const TTL: RangeInclusive<i64> = 60_000..=2_592_000_000;

/// The prompt of the deployment.
#[derive(Serialize, ToSchema)]
pub struct SystemPromptOut {
    /// What the administrator wrote.
    system_prompt: String,
    /// Whether the built-in prompt goes before it.
    include_default_system_prompt: bool,
    /// The built-in prompt.
    default_system_prompt: &'static str,
}

/// A change of the prompt of the deployment.
#[derive(Deserialize, ToSchema)]
pub struct SystemPromptIn {
    system_prompt: String,
    /// Left out: as it is.
    include_default_system_prompt: Option<bool>,
}

impl Exposed for SystemPrompt {
    type In = SystemPromptIn;
    type Out = SystemPromptOut;
    const HIDDEN: Hidden = Hidden::Reading;
    const ABOUT: (&'static str, &'static str) =
        ("What every new chat tells its model", "Set what every new chat tells its model");

    fn show(all: &Deployment) -> SystemPromptOut {
        SystemPromptOut {
            system_prompt: all.system_prompt.system_prompt.clone(),
            include_default_system_prompt: all.system_prompt.include_default_system_prompt,
            default_system_prompt: DEFAULT_SYSTEM_PROMPT,
        }
    }

    async fn accept(input: SystemPromptIn, state: &ApiState) -> Result<Self> {
        let kept = || state.live.current().system_prompt.include_default_system_prompt;
        Ok(Self {
            system_prompt: prompt("system_prompt", &input.system_prompt)?,
            include_default_system_prompt: input.include_default_system_prompt.unwrap_or_else(kept),
        })
    }
}

/// Whether model calls may be recorded.
#[derive(Serialize, ToSchema)]
pub struct DebugLoggingOut {
    /// Whether users may have their own recorded.
    allow_users: bool,
    /// The configuration file has all of them recorded.
    forced_by_deployment: bool,
}

impl Exposed for DebugLogging {
    type In = Self;
    type Out = DebugLoggingOut;
    const HIDDEN: Hidden = Hidden::Reading;
    const ABOUT: (&'static str, &'static str) =
        ("Whether users may have model calls recorded", "Set whether users may have model calls recorded");

    fn show(all: &Deployment) -> DebugLoggingOut {
        DebugLoggingOut { allow_users: all.debug_logging.allow_users, forced_by_deployment: all.debug_forced }
    }

    async fn accept(input: Self, _: &ApiState) -> Result<Self> {
        Ok(input)
    }
}

/// Settings with one value, of which all may be right.
macro_rules! plain {
    ($($setting:ident $hidden:ident $get:literal, $put:literal, |$value:ident, $state:ident| $check:expr;)*) => { $(
        impl Plain for $setting {
            const HIDDEN: Hidden = Hidden::$hidden;
            const ABOUT: (&'static str, &'static str) = ($get, $put);

            async fn checked(self, $state: &ApiState) -> Result<Self> {
                let $value = self;
                $check
            }
        }
    )* };
}

plain! {
    PlanModeInstructions Reading
        "What models are told in plan mode", "Set what models are told in plan mode",
        |value, _state| prompt("plan_mode_instructions", &value.plan_mode_instructions)
            .map(|plan_mode_instructions| Self { plan_mode_instructions });
    TemplateAllowlist Always
        "Templates that workspaces may be built from", "Set the templates that workspaces may be built from",
        |value, state| allowlist(value, state).await;
    Advisor Never
        "The model that others may ask for advice", "Set the model that others may ask for advice",
        |value, state| advisor(value, state).await;
    PersonalModelOverrides Never
        "Whether users may set models of their own", "Set whether users may set models of their own",
        |value, _state| Ok(value);
    DesktopEnabled Never
        "Whether agents may use a desktop", "Set whether agents may use a desktop",
        |value, _state| Ok(value);
    ComputerUseProvider Never
        "Whose models use a desktop", "Set whose models use a desktop",
        |value, _state| match value.provider.as_str() {
            "anthropic" | "openai" => Ok(value),
            _ => Err(Problem::field("provider", "provider must be anthropic or openai.")),
        };
    WorkspaceTtl Never
        "How long a chat's workspace lives", "Set how long a chat's workspace lives",
        |value, _state| match value.workspace_ttl_ms {
            0 => Ok(value),
            ms if TTL.contains(&ms) => Ok(value),
            _ => Err(Problem::field("workspace_ttl_ms", format!(
                "workspace_ttl_ms must be 0 (as the template says) or between {} and {}.", TTL.start(), TTL.end()
            ))),
        };
    RetentionDays Never
        "How long archived chats are kept", "Set how long archived chats are kept",
        |value, _state| days("retention_days", value.retention_days).map(|()| value);
    DebugRetentionDays Never
        "How long records of model calls are kept", "Set how long records of model calls are kept",
        |value, _state| days("debug_retention_days", value.debug_retention_days).map(|()| value);
    AutoArchiveDays Never
        "When idle chats are archived", "Set when idle chats are archived",
        |value, _state| days("auto_archive_days", value.auto_archive_days).map(|()| value);
}

fn days(field: &str, days: i64) -> Result<()> {
    if (0..=MAX_DAYS).contains(&days) {
        return Ok(());
    }
    Err(Problem::field(field, format!("{field} must be between 0 and {MAX_DAYS}.")))
}

async fn allowlist(mut list: TemplateAllowlist, state: &ApiState) -> Result<TemplateAllowlist> {
    let templates = state.store.templates().await?;
    let usable: HashSet<TemplateId> = templates.iter().filter(|t| !t.deprecated).map(|t| t.id).collect();
    let bad: Vec<String> =
        list.template_ids.iter().filter(|id| !usable.contains(id)).map(ToString::to_string).collect();
    if !bad.is_empty() {
        let detail = format!("There are no such templates, or they are deprecated: {}.", bad.join(", "));
        return Err(Problem::field("template_ids", detail));
    }
    let mut seen = HashSet::new();
    list.template_ids.retain(|id| seen.insert(*id));
    Ok(list)
}

async fn advisor(advisor: Advisor, state: &ApiState) -> Result<Advisor> {
    for (field, number) in
        [("max_uses_per_run", advisor.max_uses_per_run), ("max_output_tokens", advisor.max_output_tokens)]
    {
        if number < 0 {
            return Err(Problem::field(field, format!("{field} must not be negative.")));
        }
    }
    let id = advisor.model_config_id;
    if !id.0.is_nil()
        && let Err(why) = state.catalog.checked(|catalog| settable(catalog, id)).await?
    {
        return Err(Problem::field("model_config_id", format!("model_config_id cannot be used: {why}.")));
    }
    Ok(Advisor { reasoning_effort: effort(advisor.reasoning_effort)?, ..advisor })
}
