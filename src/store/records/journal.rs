//! Entries of the journal of tool calls that must not run twice.

use crate::{
    chat::json::Json,
    ids::{ChatId, RunnerId},
};

/// A tool call that is about to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Id of the call.
    pub tool_call_id: String,
    /// Its tool.
    pub tool_name: String,
}

/// Whose calls they are. Only the owner of a chat enters any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// The chat.
    pub chat: ChatId,
    /// The runner that is about to start them.
    pub runner: RunnerId,
    /// The history in which they are open.
    pub history_version: i64,
}

/// A tool call that was entered before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Id of the call.
    pub tool_call_id: String,
    /// What came of it; `None`: whoever ran it did not live to tell.
    pub outcome: Option<Json>,
}
