//! The execution states, and how stored facts are classified into one (state-machine.md §2).

use super::json::Json;
use crate::{
    clock::Timestamp,
    ids::{ChatId, MessageId, QueuedId, RunnerId, WorkerId},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The stored `status` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing to do.
    Waiting,
    /// A turn is under way.
    Running,
    /// An interruption is being finished.
    Interrupting,
    /// Client-run tool calls are pending.
    RequiresAction,
    /// The last turn failed; see `last_error`.
    Error,
}

impl Status {
    /// All five.
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Running, Self::Interrupting, Self::RequiresAction, Self::Error];

    /// The name in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Interrupting => "interrupting",
            Self::RequiresAction => "requires_action",
            Self::Error => "error",
        }
    }

    /// Whether a worker must own the chat: R*, I*, A*.
    #[must_use]
    pub const fn is_runnable(self) -> bool {
        matches!(self, Self::Running | Self::Interrupting | Self::RequiresAction)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An execution state. Letter = status, digit = queue empty (0) or not (1), X = archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Waiting, empty queue.
    W,
    /// Error, empty queue.
    E0,
    /// Error, queued messages.
    E1,
    /// Running, empty queue.
    R0,
    /// Running, queued messages.
    R1,
    /// Interrupting, empty queue.
    I0,
    /// Interrupting, queued messages.
    I1,
    /// Requires action, empty queue.
    A0,
    /// Requires action, queued messages.
    A1,
    /// Archived, waiting.
    XW,
    /// Archived, error, empty queue.
    XE0,
    /// Archived, error, queued messages.
    XE1,
    /// A combination that no transition makes; only reconcile leads out of it.
    Invalid(Status, bool, bool),
}

impl State {
    /// The twelve legal states of a chat that exists.
    pub const LEGAL: [Self; 12] = [
        Self::W,
        Self::E0,
        Self::E1,
        Self::R0,
        Self::R1,
        Self::I0,
        Self::I1,
        Self::A0,
        Self::A1,
        Self::XW,
        Self::XE0,
        Self::XE1,
    ];

    /// Classifies stored facts.
    #[must_use]
    pub const fn classify(status: Status, queued: bool, archived: bool) -> Self {
        match (status, queued, archived) {
            (Status::Waiting, false, false) => Self::W,
            (Status::Waiting, false, true) => Self::XW,
            (Status::Error, false, false) => Self::E0,
            (Status::Error, true, false) => Self::E1,
            (Status::Error, false, true) => Self::XE0,
            (Status::Error, true, true) => Self::XE1,
            (Status::Running, false, false) => Self::R0,
            (Status::Running, true, false) => Self::R1,
            (Status::Interrupting, false, false) => Self::I0,
            (Status::Interrupting, true, false) => Self::I1,
            (Status::RequiresAction, false, false) => Self::A0,
            (Status::RequiresAction, true, false) => Self::A1,
            (Status::Waiting, true, _)
            | (Status::Running | Status::Interrupting | Status::RequiresAction, _, true) => {
                Self::Invalid(status, queued, archived)
            }
        }
    }

    /// One of XW, XE0, XE1.
    #[must_use]
    pub const fn is_archived(self) -> bool {
        matches!(self, Self::XW | Self::XE0 | Self::XE1)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(status, queued, archived) => {
                write!(f, "invalid ({status}, queue {}", if *queued { "not empty" } else { "empty" })?;
                f.write_str(if *archived { ", archived)" } else { ")" })
            }
            legal => write!(f, "{legal:?}"),
        }
    }
}

/// The version columns (state-machine.md §1). They only grow, except the attempt, which starts
/// again at 0 whenever `history` moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Versions {
    /// +1 for every transaction that applies transitions.
    pub snapshot: i64,
    /// Snapshot of the last transaction that changed messages.
    pub history: i64,
    /// Snapshot of the last transaction that changed the queue; 0 = never used.
    pub queue: i64,
    /// Snapshot of the last transaction that changed `retry_state`.
    pub retry_state: i64,
    /// Model attempts at the current history.
    pub attempt: i64,
}

/// Who drives a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The replica process.
    pub worker: WorkerId,
    /// The runner within it.
    pub runner: RunnerId,
}

/// An unanswered tool call in active history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCall {
    /// Its id.
    pub tool_call_id: String,
    /// Its tool.
    pub tool_name: String,
    /// Whether the API client runs the tool (a dynamic tool of this chat).
    pub dynamic: bool,
}

/// The message an edit is aimed at, if this chat has it and it is not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EditTarget {
    /// Its id.
    pub id: MessageId,
    /// Its role; only user messages can be edited.
    pub role: super::message::Role,
}

/// The durable facts a step decides from, as read under the row lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// The chat.
    pub id: ChatId,
    /// Its parent; set for sub-agent chats only.
    pub parent: Option<ChatId>,
    /// Stored status.
    pub status: Status,
    /// Stored archive flag.
    pub archived: bool,
    /// Versions.
    pub versions: Versions,
    /// Owner, if any.
    pub owner: Option<Owner>,
    /// Error payload of the last unrecoverable failure.
    pub last_error: Option<Json>,
    /// Last error of the current attempt and when the next one starts.
    pub retry_state: Option<Json>,
    /// When pending client-side tool calls are cancelled.
    pub requires_action_deadline_at: Option<Timestamp>,
    /// One-shot marker of a manual compaction.
    pub compaction_requested_at: Option<Timestamp>,
    /// Ids of the queue in processing order.
    pub queue: Vec<QueuedId>,
    /// Unanswered non-provider calls of active history, in call order. Loaded only for commands
    /// whose [`super::command::Command::needs_open_calls`] is true.
    pub open_calls: Vec<OpenCall>,
    /// Loaded only for `EditMessage`.
    pub edit_target: Option<EditTarget>,
}

impl Chat {
    /// The execution state.
    #[must_use]
    pub fn state(&self) -> State {
        State::classify(self.status, !self.queue.is_empty(), self.archived)
    }
}
