//! What may be asked of a chat: one variant per transition of state-machine.md §3.

use super::{
    json::Json,
    message::{NewMessage, Role},
    state::Owner,
};
use crate::{
    clock::Timestamp,
    ids::{MessageId, QueuedId},
};
use std::fmt;

/// What happens to a message that arrives while the chat is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Busy {
    /// It waits for its turn.
    #[default]
    Queue,
    /// The running turn is interrupted for it.
    Interrupt,
}

/// A client's answer to one pending call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedResult {
    /// The call it answers.
    pub tool_call_id: String,
    /// Output text; must be JSON.
    pub output: String,
    /// The client's tool failed.
    pub is_error: bool,
}

/// A transition that is asked for. `Create` is not here: it makes the chat, see [`super::step::create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A user message.
    SendMessage {
        /// The message; role user, visibility both.
        message: NewMessage,
        /// What to do when the chat is busy.
        busy: Busy,
        /// Most messages the queue may hold (`chat.max_queue`).
        max_queue: usize,
    },
    /// Replaces a user message and everything after it.
    EditMessage {
        /// The message to replace.
        target: MessageId,
        /// What replaces it; role user, visibility both.
        replacement: NewMessage,
    },
    /// Takes a message out of the queue.
    DeleteQueuedMessage(QueuedId),
    /// Makes a queued message the next one, at once where possible.
    PromoteQueuedMessage(QueuedId),
    /// Stops the turn and keeps its partial output.
    Interrupt {
        /// Told to the model as the result of pending client-side calls.
        reason: String,
    },
    /// The client's results for all pending calls.
    CompleteRequiresAction(Vec<SubmittedResult>),
    /// Asks for a compaction of the history.
    RequestCompaction,
    /// Hides the history from the model.
    ClearContext {
        /// The rows that mark the place, all compressed.
        rows: Vec<NewMessage>,
    },
    /// Archives or unarchives.
    SetArchived(bool),
    /// A model call is about to start.
    RecordGenerationAttempt,
    /// A failed attempt will be followed by another.
    RecordRetryState(Json),
    /// Output of one step of the turn.
    CommitStep(Vec<NewMessage>),
    /// The model asked for client-side tools.
    EnterRequiresAction {
        /// When the pending calls are cancelled.
        deadline: Timestamp,
    },
    /// The turn is over.
    FinishTurn,
    /// The interruption is over.
    FinishInterruption {
        /// The partial output, then results for its unfinished calls.
        partial: Vec<NewMessage>,
    },
    /// The turn, or something outside a turn, failed for good.
    FinishError {
        /// Becomes `last_error`.
        error: Json,
    },
    /// The deadline of the pending client-side calls has passed.
    CancelRequiresAction {
        /// Told to the model as their result.
        reason: String,
    },
    /// Leads out of an invalid state.
    ReconcileInvalidState {
        /// Becomes `last_error`; says what was found.
        error: Json,
    },
    /// A worker takes the chat.
    Acquire(Owner),
    /// The owner lets the chat go.
    Abandon,
}

/// A command without its payload: names metrics and refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the Command of the same name")]
pub enum CommandKind {
    SendMessageQueue,
    SendMessageInterrupt,
    EditMessage,
    DeleteQueuedMessage,
    PromoteQueuedMessage,
    Interrupt,
    CompleteRequiresAction,
    RequestCompaction,
    ClearContext,
    Archive,
    Unarchive,
    RecordGenerationAttempt,
    RecordRetryState,
    CommitStep,
    EnterRequiresAction,
    FinishTurn,
    FinishInterruption,
    FinishError,
    CancelRequiresAction,
    ReconcileInvalidState,
    Acquire,
    Abandon,
}

impl CommandKind {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::SendMessageQueue,
        Self::SendMessageInterrupt,
        Self::EditMessage,
        Self::DeleteQueuedMessage,
        Self::PromoteQueuedMessage,
        Self::Interrupt,
        Self::CompleteRequiresAction,
        Self::RequestCompaction,
        Self::ClearContext,
        Self::Archive,
        Self::Unarchive,
        Self::RecordGenerationAttempt,
        Self::RecordRetryState,
        Self::CommitStep,
        Self::EnterRequiresAction,
        Self::FinishTurn,
        Self::FinishInterruption,
        Self::FinishError,
        Self::CancelRequiresAction,
        Self::ReconcileInvalidState,
        Self::Acquire,
        Self::Abandon,
    ];

    /// The name in metrics, logs and refusals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendMessageQueue => "send_message_queue",
            Self::SendMessageInterrupt => "send_message_interrupt",
            Self::EditMessage => "edit_message",
            Self::DeleteQueuedMessage => "delete_queued_message",
            Self::PromoteQueuedMessage => "promote_queued_message",
            Self::Interrupt => "interrupt",
            Self::CompleteRequiresAction => "complete_requires_action",
            Self::RequestCompaction => "request_compaction",
            Self::ClearContext => "clear_context",
            Self::Archive => "archive",
            Self::Unarchive => "unarchive",
            Self::RecordGenerationAttempt => "record_generation_attempt",
            Self::RecordRetryState => "record_retry_state",
            Self::CommitStep => "commit_step",
            Self::EnterRequiresAction => "enter_requires_action",
            Self::FinishTurn => "finish_turn",
            Self::FinishInterruption => "finish_interruption",
            Self::FinishError => "finish_error",
            Self::CancelRequiresAction => "cancel_requires_action",
            Self::ReconcileInvalidState => "reconcile_invalid_state",
            Self::Acquire => "acquire",
            Self::Abandon => "abandon",
        }
    }
}

impl fmt::Display for CommandKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Command {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> CommandKind {
        match self {
            Self::SendMessage { busy: Busy::Queue, .. } => CommandKind::SendMessageQueue,
            Self::SendMessage { busy: Busy::Interrupt, .. } => CommandKind::SendMessageInterrupt,
            Self::EditMessage { .. } => CommandKind::EditMessage,
            Self::DeleteQueuedMessage(_) => CommandKind::DeleteQueuedMessage,
            Self::PromoteQueuedMessage(_) => CommandKind::PromoteQueuedMessage,
            Self::Interrupt { .. } => CommandKind::Interrupt,
            Self::CompleteRequiresAction(_) => CommandKind::CompleteRequiresAction,
            Self::RequestCompaction => CommandKind::RequestCompaction,
            Self::ClearContext { .. } => CommandKind::ClearContext,
            Self::SetArchived(true) => CommandKind::Archive,
            Self::SetArchived(false) => CommandKind::Unarchive,
            Self::RecordGenerationAttempt => CommandKind::RecordGenerationAttempt,
            Self::RecordRetryState(_) => CommandKind::RecordRetryState,
            Self::CommitStep(_) => CommandKind::CommitStep,
            Self::EnterRequiresAction { .. } => CommandKind::EnterRequiresAction,
            Self::FinishTurn => CommandKind::FinishTurn,
            Self::FinishInterruption { .. } => CommandKind::FinishInterruption,
            Self::FinishError { .. } => CommandKind::FinishError,
            Self::CancelRequiresAction { .. } => CommandKind::CancelRequiresAction,
            Self::ReconcileInvalidState { .. } => CommandKind::ReconcileInvalidState,
            Self::Acquire(_) => CommandKind::Acquire,
            Self::Abandon => CommandKind::Abandon,
        }
    }

    /// Whether [`super::state::Chat::open_calls`] must be loaded for this command, because it may
    /// put a user message into history, or answers pending calls.
    #[must_use]
    pub fn needs_open_calls(&self) -> bool {
        match self {
            Self::SendMessage { .. }
            | Self::EditMessage { .. }
            | Self::PromoteQueuedMessage(_)
            | Self::Interrupt { .. }
            | Self::CompleteRequiresAction(_)
            | Self::EnterRequiresAction { .. }
            | Self::FinishTurn
            | Self::FinishInterruption { .. }
            | Self::CancelRequiresAction { .. }
            | Self::ReconcileInvalidState { .. }
            | Self::ClearContext { .. } => true,
            Self::CommitStep(rows) => rows.iter().any(|row| row.role == Role::User),
            Self::DeleteQueuedMessage(_)
            | Self::RequestCompaction
            | Self::SetArchived(_)
            | Self::RecordGenerationAttempt
            | Self::RecordRetryState(_)
            | Self::FinishError { .. }
            | Self::Acquire(_)
            | Self::Abandon => false,
        }
    }
}
