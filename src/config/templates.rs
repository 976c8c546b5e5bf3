//! `[[templates]]`: what `create_workspace` can build.

use super::units;
use crate::ids::TemplateId;
use serde::{Deserialize, Serialize};
use std::time::Duration;
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
    /// command: run by `sh -c`; status 0 says that it runs. Default: none, the agent's link tells.
    #[serde(with = "units::optional")]
    pub status: Option<String>,
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
        }
    }
}
