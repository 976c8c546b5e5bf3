//! Pull requests of chats with what they cost.

use super::DiffRecord;
use crate::{
    clock::Timestamp,
    ids::{ChatId, ModelConfigId},
};

/// A pull request that a chat made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// The chat.
    pub chat_id: ChatId,
    /// Its model at last.
    pub model_config_id: ModelConfigId,
    /// When the chat began: the moment at which the pull request counts as created.
    pub created_at: Timestamp,
    /// What is known of the pull request.
    pub diff: DiffRecord,
    /// What the chat cost, with its sub-agents if it is a root, in micro-dollars.
    pub cost_micros: i64,
}
