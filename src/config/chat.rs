//! `[chat]`: limits and habits of every chat.

use serde::{Deserialize, Serialize};

/// Limits and habits of every chat. Defaults: cli-and-config.md.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Chat {
    /// Messages that may wait in one chat's queue. Default: 20 (api.md).
    pub max_queue: u32,
    /// Whether owners can let others read their chats. Default: true.
    pub sharing: bool,
    /// Share of the model's context, in percent, at which the history is compacted; 100 = never.
    /// A model's own `compaction_threshold` goes before. Default: 70.
    pub compaction_threshold_percent: u8,
    /// Days without activity after which a chat is archived. Default: 0, never; at most 3650.
    pub auto_archive_days: u32,
    /// Whether model calls are recorded for debugging. Default: off.
    pub debug_runs: DebugRuns,
    /// Days such records are kept. Default: 30; 0 keeps them for ever; at most 3650.
    pub debug_retention_days: u32,
}

/// Whether model calls are recorded for debugging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DebugRuns {
    /// Never.
    Off,
    /// For users who switched it on.
    PerUser,
    /// Always.
    On,
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            max_queue: 20,
            sharing: true,
            compaction_threshold_percent: 70,
            auto_archive_days: 0,
            debug_runs: DebugRuns::Off,
            debug_retention_days: 30,
        }
    }
}
