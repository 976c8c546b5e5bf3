//! `[[templates]]`: what `create_workspace` can build.

use super::units;
use crate::ids::TemplateId;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use utoipa::ToSchema;
use uuid::Uuid;

/// What `create_workspace` can build.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Template {
    /// Unique; letters, digits, dot, dash and underscore. Required.
    pub name: String,
    /// Shown to people. Default: `name`.
    #[serde(with = "units::optional")]
    pub display_name: Option<String>,
    /// What it is good for: people and models choose by it. Default: empty.
    pub description: String,
    /// Who starts the agent. Default: local.
    pub kind: TemplateKind,
    /// How long a workspace runs after a start; 0s = until it is stopped. Default: 0s.
    #[serde(with = "units::text")]
    pub ttl: Duration,
    /// How far a chat that uses a workspace puts its end off, from then. Default: 1h.
    #[serde(with = "units::text")]
    pub activity_bump: Duration,
    /// local: the folder, relative to `data_dir`; `{workspace}` stands for the workspace's id.
    /// Default: workspaces/{workspace}.
    pub directory: String,
    /// command: run by `sh -c` to start a workspace. Required for that kind.
    #[serde(with = "units::optional")]
    pub start: Option<String>,
    /// command: run by `sh -c` to stop it. Required for that kind.
    #[serde(with = "units::optional")]
    pub stop: Option<String>,
    /// command: run by `sh -c` when the agent of a running workspace is away; status 0 says that it runs, and with another one
    /// it is stopped. Default: none, the agent's link tells.
    #[serde(with = "units::optional")]
    pub status: Option<String>,
    /// What it asks of whoever builds from it; commands find the answers in their environment. Default: nothing.
    pub parameters: Vec<TemplateParameter>,
    /// Answers that are ready. Default: none.
    pub presets: Vec<TemplatePreset>,
}

/// What a template asks. The table of templates and the API have it in this form too.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateParameter {
    /// Unique in its template; letters, digits, dash and underscore. Required.
    #[schema(required = true)]
    pub name: String,
    /// Shown to people. Default: empty.
    pub display_name: String,
    /// What it is. Default: empty.
    pub description: String,
    /// string, number or bool. Default: string.
    #[serde(rename = "type")]
    pub kind: ParameterKind,
    /// The answer where nobody gives one. Default: one has to be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The answers that there are. Default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<ParameterOption>,
    /// number: the least. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_min: Option<i64>,
    /// number: the greatest. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_max: Option<i64>,
    /// string: a regular expression that is found in the answer; `^` and `$` are its ends. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_regex: Option<String>,
    /// Said of an answer that one of the above refuses. Default: which one it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_error: Option<String>,
}

/// What an answer has to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TemplateParameterType)]
pub enum ParameterKind {
    /// Any text.
    #[default]
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = TemplateParameterOption)]
pub struct ParameterOption {
    /// Shown to people.
    #[schema(required = true)]
    pub name: String,
    /// The answer itself.
    #[schema(required = true)]
    pub value: String,
    /// More for people.
    pub description: String,
}

/// Answers that are ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplatePreset {
    /// Unique in its template. Required.
    pub name: String,
    /// What it is good for.
    pub description: String,
    /// It is what most take.
    pub default: bool,
    /// The answers, by the name of the parameter.
    pub parameters: BTreeMap<String, String>,
}

/// Who starts the agent of a workspace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateKind {
    /// The daemon: a folder and an agent process on this host.
    #[default]
    Local,
    /// Commands of the operator.
    Command,
    /// Somebody else; the daemon only waits for the agent.
    External,
}

/// Namespace of derived ids: a random UUID, fixed for ever.
const NAMESPACE: Uuid = Uuid::from_u128(0x2e91_7c64_0f3b_4d5a_b1d8_63ea_95c2_40f7);

impl Template {
    /// Its id: derived from its name, so that it is the same after a restart and on every replica.
    #[must_use]
    pub fn id(&self) -> TemplateId {
        TemplateId(Uuid::new_v5(&NAMESPACE, self.name.as_bytes()))
    }
}

impl Default for Template {
    fn default() -> Self {
        Self {
            name: String::new(),
            display_name: None,
            description: String::new(),
            kind: TemplateKind::Local,
            ttl: Duration::ZERO,
            activity_bump: Duration::from_secs(60 * 60),
            directory: "workspaces/{workspace}".into(),
            start: None,
            stop: None,
            status: None,
            parameters: Vec::new(),
            presets: Vec::new(),
        }
    }
}
