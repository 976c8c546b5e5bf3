//! What is handed to the only writer of chats, messages and queue, and what it answers. The writing
//! itself is `queries::commit`, compiled once for each engine.

use super::{
    records::{ChatRecord, Head, MessageRow, QueuedRow},
    rows::HeadRow,
    spend::{Asked, ModelCall},
};
use crate::{
    chat::{
        command::Command,
        json::Json,
        state::{Owner, State, Status},
    },
    clock::Timestamp,
    ids::{ChatId, FileId, ModelConfigId, RunnerId, UserId},
};
use std::{fmt, sync::Arc};

/// What must still hold when work done outside of the lock is committed (state-machine.md §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The runner the work belongs to.
    pub runner: RunnerId,
    /// Status the work started from.
    pub status: Status,
    /// History the work started from.
    pub history_version: i64,
    /// Attempt the work belongs to, if it belongs to one.
    pub attempt: Option<i64>,
}

/// Metadata that rides along with a message. `None` keeps the stored value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetaChange {
    /// Becomes the chat's last model.
    pub model_config_id: Option<ModelConfigId>,
    /// Effort.
    pub reasoning_effort: Option<String>,
    /// Plan mode; `Some(None)` clears.
    pub plan_mode: Option<Option<String>>,
    /// MCP servers.
    pub mcp_server_ids: Option<Json>,
}

impl MetaChange {
    /// Nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Renders an HTTP status and a body from an outcome.
pub type Render<T> = Arc<dyn Fn(&T) -> (u16, Json) + Send + Sync>;

/// Makes a request that accepts work repeatable: the answer is stored in the same transaction.
pub struct Idempotency<T> {
    /// Whose key.
    pub user: UserId,
    /// The `Idempotency-Key` header.
    pub key: String,
    /// SHA-256 of method, path and body.
    pub request_hash: Vec<u8>,
    /// Renders status and body of the answer from the outcome, inside the transaction.
    pub render: Render<T>,
}

impl<T> Clone for Idempotency<T> {
    fn clone(&self) -> Self {
        Self {
            user: self.user,
            key: self.key.clone(),
            request_hash: self.request_hash.clone(),
            render: Arc::clone(&self.render),
        }
    }
}

impl<T> fmt::Debug for Idempotency<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").field("user", &self.user).finish_non_exhaustive()
    }
}

/// One transaction on one chat.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The chat.
    pub chat: ChatId,
    /// Checked under the lock, if the work was done outside of it.
    pub fence: Option<Fence>,
    /// Applied in order, with one snapshot bump.
    pub commands: Vec<Command>,
    /// Metadata written along.
    pub meta: MetaChange,
    /// Files that the message names; they are linked to the chat as far as there is room.
    pub files: Vec<FileId>,
    /// The moment of the commit.
    pub now: Timestamp,
    /// Abandon the chat in the same transaction when it lands where nobody has to drive it: the
    /// runner would let it go at once, and no idle chat keeps an owner.
    pub release_when_idle: bool,
    /// Repeatability.
    pub idempotency: Option<Idempotency<Committed>>,
    /// The model call this commits the outcome of; it goes into the ledger with it.
    pub call: Option<ModelCall>,
    /// It answers the calls that the chat's journal of tool calls holds.
    pub closes_calls: bool,
    /// The spend limit is looked at first. Set by the store.
    pub spend: Option<Asked>,
}

impl Commit {
    /// A commit of one command without a fence.
    #[must_use]
    pub fn new(chat: ChatId, command: Command, now: Timestamp) -> Self {
        Self {
            chat,
            fence: None,
            commands: vec![command],
            meta: MetaChange::default(),
            files: Vec::new(),
            now,
            release_when_idle: false,
            idempotency: None,
            call: None,
            closes_calls: false,
            spend: None,
        }
    }

    /// Whether it takes a message on, which only those may send who have not reached their limit.
    pub(super) fn admits(&self) -> bool {
        let admits = |c: &Command| matches!(c, Command::SendMessage { .. } | Command::EditMessage { .. });
        self.commands.iter().any(admits)
    }

    /// The same under a fence.
    #[must_use]
    pub fn fenced(mut self, fence: Fence) -> Self {
        self.fence = Some(fence);
        self
    }

    /// Lets the chat go in the same transaction if nobody has to drive it afterwards.
    #[must_use]
    pub fn releasing(mut self) -> Self {
        self.release_when_idle = true;
        self
    }

    /// Adds a command to the transaction.
    #[must_use]
    pub fn and(mut self, command: Command) -> Self {
        self.commands.push(command);
        self
    }
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// State before.
    pub before: State,
    /// State after.
    pub after: State,
    /// Columns after.
    pub head: Head,
    /// Snapshot version before.
    pub previous_snapshot: i64,
    /// Owner of the chat, for the watch channel.
    pub owner_id: UserId,
    /// Messages inserted, in order.
    pub inserted: Vec<MessageRow>,
    /// The message that was queued and is still in the queue.
    pub queued: Option<QueuedRow>,
    /// A suffix of history was soft-deleted.
    pub deleted: bool,
    /// Files that were not linked, as the chat has as many as it may have.
    pub unlinked: Vec<FileId>,
}

impl Committed {
    /// Whether an attempt was recorded with it that has still to begin. A new message moves the history, which has no attempts
    /// then; those of a history that was there before were made by somebody else.
    #[must_use]
    pub fn begins_attempt(&self) -> bool {
        !self.inserted.is_empty() && self.head.versions.attempt > 0
    }
}

/// Outcome of an operation that may be a repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted<T> {
    /// Done now.
    Fresh(T),
    /// The key was used before with the same request: the stored answer.
    Replayed {
        /// HTTP status.
        status: u16,
        /// Body.
        answer: Json,
    },
}

/// A chat that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The chat.
    pub chat: ChatRecord,
    /// Its first messages.
    pub inserted: Vec<MessageRow>,
    /// Files that were not linked, as the chat has as many as it may have.
    pub unlinked: Vec<FileId>,
}

/// What is written along with a plan.
#[derive(Default)]
pub(super) struct Along {
    pub meta: MetaChange,
    pub lease: Lease,
    pub call: Option<ModelCall>,
}

/// What happens to the chat's heartbeat row in a commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Lease {
    #[default]
    Keep,
    Begin(Owner),
    End,
}

impl Lease {
    /// The last command that moves ownership decides.
    pub fn of(commands: &[Command]) -> Self {
        commands.iter().fold(Self::Keep, |lease, command| match command {
            Command::Acquire(owner) => Self::Begin(*owner),
            Command::Abandon => Self::End,
            _ => lease,
        })
    }
}

/// A chat's row under lock.
pub(super) struct Locked {
    pub row: HeadRow,
    /// Ids of the queue in order; `None` when they have still to be read.
    pub queue: Option<Vec<i64>>,
}

/// What the writes of a plan left behind.
#[derive(Default)]
pub(super) struct Written {
    pub inserted: Vec<MessageRow>,
    pub queued: Option<QueuedRow>,
    pub deleted: bool,
}
