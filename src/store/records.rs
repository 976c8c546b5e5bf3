//! Rows as the rest of the program sees them.

use crate::{
    chat::{
        json::Json,
        message::{Role, StepFigures, Visibility},
        state::{Owner, Status, Versions},
    },
    clock::Timestamp,
    ids::{ChatId, MessageId, ModelConfigId, QueuedId, UserId},
};

/// A row of `chat_messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// Id, ascending over the deployment.
    pub id: MessageId,
    /// The chat.
    pub chat_id: ChatId,
    /// Snapshot version of the transaction that last inserted or changed the row.
    pub revision: i64,
    /// Soft-deleted by an edit.
    pub deleted: bool,
    /// Who speaks.
    pub role: Role,
    /// Who may see it.
    pub visibility: Visibility,
    /// JSON array of parts as clients get it.
    pub content: Json,
    /// What the provider gets back verbatim; never sent to clients.
    pub native: Option<Json>,
    /// Author, for user messages.
    pub created_by: Option<UserId>,
    /// Model that wrote it or was asked for.
    pub model_config_id: Option<ModelConfigId>,
    /// Part of a compaction or clearing.
    pub compressed: bool,
    /// Figures of the model step.
    pub figures: StepFigures,
    /// When it was inserted.
    pub created_at: Timestamp,
}

/// A row of `chat_queued_messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedRow {
    /// Id, in a space of its own.
    pub id: QueuedId,
    /// The chat.
    pub chat_id: ChatId,
    /// JSON array of parts.
    pub content: Json,
    /// Author.
    pub created_by: Option<UserId>,
    /// Model asked for.
    pub model_config_id: Option<ModelConfigId>,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// The execution columns of a chat that streams and runners follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The chat.
    pub id: ChatId,
    /// Status.
    pub status: Status,
    /// Archive flag.
    pub archived: bool,
    /// Versions.
    pub versions: Versions,
    /// Owner.
    pub owner: Option<Owner>,
    /// Error payload.
    pub last_error: Option<Json>,
    /// Retry payload.
    pub retry_state: Option<Json>,
    /// Deadline of pending client-side calls.
    pub requires_action_deadline_at: Option<Timestamp>,
}

/// A pending client-side tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingCall {
    /// Id of the call.
    pub tool_call_id: String,
    /// Tool.
    pub tool_name: String,
    /// JSON text of the arguments.
    pub args: String,
}

/// One consistent read of a chat for its subscribers, made in one read transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRead {
    /// The columns.
    pub head: Head,
    /// A message the reader may already hold was soft-deleted: `messages` is the full history.
    pub reset: bool,
    /// Client-visible, not deleted messages newer than what was asked for, ascending id; all of
    /// them after a reset.
    pub messages: Vec<MessageRow>,
    /// The whole queue in processing order, if it moved since the version asked for.
    pub queue: Option<Vec<QueuedRow>>,
    /// Pending client-side calls; empty unless the status is `requires_action`.
    pub pending: Vec<PendingCall>,
}
