//! What a step wants done. Data, never calls: `store::commit` writes it, all of it or nothing.

use super::{
    command::CommandKind,
    json::Json,
    message::NewMessage,
    state::{Owner, State, Status, Versions},
};
use crate::{
    clock::Timestamp,
    ids::{MessageId, QueuedId},
};

/// One change of the message or queue tables. Executed in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Soft-delete this message and every later one of the chat.
    DeleteMessagesFrom(MessageId),
    /// Append a message to history.
    Insert(NewMessage),
    /// Append a user message to the queue.
    Enqueue(NewMessage),
    /// Move this queued message to the end of history as a user message.
    MoveIntoHistory(QueuedId),
    /// Remove this message from the queue.
    Dequeue(QueuedId),
    /// Make this queued message the first of the queue.
    MoveToHead(QueuedId),
    /// Remove every queued message.
    ClearQueue,
}

/// The new values of the chat's execution columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Status.
    pub status: Status,
    /// Archive flag.
    pub archived: bool,
    /// Versions, already advanced.
    pub versions: Versions,
    /// Owner.
    pub owner: Option<Owner>,
    /// Error payload.
    pub last_error: Option<Json>,
    /// Retry payload.
    pub retry_state: Option<Json>,
    /// Deadline of pending client-side calls.
    pub requires_action_deadline_at: Option<Timestamp>,
    /// Manual compaction marker.
    pub compaction_requested_at: Option<Timestamp>,
}

/// Everything one transaction has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Changes of messages and queue, in order.
    pub writes: Vec<Write>,
    /// The chat's new columns.
    pub columns: Columns,
    /// State the chat is in afterwards.
    pub lands_in: State,
}

/// A command that is not possible. Nothing is written. `api::problem` gives it a status code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The pair is not in the table of legal moves.
    #[error("{command} is not allowed while the chat is {from}")]
    NotAllowed {
        /// What was asked.
        command: CommandKind,
        /// Where the chat is.
        from: State,
    },
    /// The queue holds as many messages as it may.
    #[error("the chat already has {max} queued messages")]
    QueueFull {
        /// The limit.
        max: usize,
    },
    /// The chat has no such message, or it is deleted.
    #[error("edited message not found")]
    EditedMessageNotFound,
    /// The target of an edit is not a user message.
    #[error("only user messages can be edited")]
    OnlyUserMessagesCanBeEdited,
    /// The queue does not hold this message.
    #[error("queued message not found")]
    QueuedMessageNotFound,
    /// Two results for one call.
    #[error("duplicate result for tool call {0:?}")]
    DuplicateResult(String),
    /// A pending call has no result.
    #[error("missing result for tool call {0:?}")]
    MissingResult(String),
    /// A result for a call that is not pending.
    #[error("tool call {0:?} is not pending")]
    UnexpectedResult(String),
    /// A result is not JSON.
    #[error("output of tool call {0:?} is not valid JSON")]
    ResultNotJson(String),
    /// Only a root chat can be archived; its children follow.
    #[error("only a root chat can be archived or unarchived")]
    NotARootChat,
    /// There is no call a client could answer.
    #[error("no client-side tool call is pending")]
    NothingPending,
}
