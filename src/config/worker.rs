//! `[worker]`: how this replica takes and runs chats.

use super::units;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How this replica takes and runs chats. Defaults: cli-and-config.md.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// False: a replica that only serves the API and streams. Default: true.
    pub enabled: bool,
    /// How often the database is asked for chats that need a runner. Default: 1 s.
    #[serde(with = "units::text")]
    pub acquire_interval: Duration,
    /// Chats taken at one time. Default: 10.
    pub max_chats_per_acquire: u32,
    /// How often an owned chat's heartbeat is written. Default: 5 s.
    #[serde(with = "units::text")]
    pub heartbeat_interval: Duration,
    /// Age of a heartbeat after which another replica may take the chat: a dead owner is replaced
    /// within `lease` + `acquire_interval` + 1 s. Default: 30 s; more than twice the heartbeat.
    #[serde(with = "units::text")]
    pub lease: Duration,
    /// Root chats running at once in the whole deployment. Default: 0, no limit.
    pub max_running_chats: u32,
    /// Subagents running at once in the whole deployment. Default: 0, no limit.
    pub max_running_subagents: u32,
    /// Model steps in one turn. Default: 1200.
    pub max_steps: u32,
    /// Attempts of one step before the turn ends in error. Default: 25.
    pub max_attempts: u32,
    /// How long a chat waits for tool results of its client. Default: 5 min.
    #[serde(with = "units::text")]
    pub tool_result_timeout: Duration,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            enabled: true,
            acquire_interval: Duration::from_secs(1),
            max_chats_per_acquire: 10,
            heartbeat_interval: Duration::from_secs(5),
            lease: Duration::from_secs(30),
            max_running_chats: 0,
            max_running_subagents: 0,
            max_steps: 1200,
            max_attempts: 25,
            tool_result_timeout: Duration::from_secs(300),
        }
    }
}
