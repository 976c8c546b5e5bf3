//! Rows as the rest of the program sees them.

pub mod debug;
pub mod insights;
pub mod journal;
mod lists;
pub mod mcp;
pub mod models;
mod people;
pub mod skills;
pub mod workspaces;

pub use lists::{
    Acl, AclGroup, AclSubject, DiffFilter, DiffRecord, DiffReference, DiffStates, ListFilter, ListedChat,
    Readable, TitleLock,
};
pub use people::{
    GroupPatch, GroupRecord, LoginLink, LoginType, MemberRecord, NewUser, OrganizationPatch,
    OrganizationRecord, SiteRole, TokenKind, TokenRecord, UserPage, UserPatch, UserRecord,
};

use crate::{
    chat::{
        json::Json,
        message::{Role, StepFigures, Visibility},
        state::{Owner, Status, Versions},
    },
    clock::Timestamp,
    ids::{
        AgentId, BuildId, ChatId, MessageId, ModelConfigId, OrganizationId, QueuedId, UserId, WorkspaceId,
    },
};

/// Some of the open root chats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdleRoots {
    /// Those in which nothing happens.
    pub idle: Vec<ChatId>,
    /// The last one that was looked at; `None` when none was left.
    pub last: Option<ChatId>,
}

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
    /// `messages` ends before the history does: it goes on behind the last of them, at this revision
    /// ([`JoinFrom::Resume`]).
    pub more: bool,
    /// The whole queue in processing order, if it moved since the version asked for.
    pub queue: Option<Vec<QueuedRow>>,
    /// Pending client-side calls; empty unless the status is `requires_action`.
    pub pending: Vec<PendingCall>,
}

/// What one pass of a turn starts from, made in one read transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnRead {
    /// The chat.
    pub chat: ChatRecord,
    /// The rows of the active history that can matter, ascending id; with a summary in it, what is
    /// older is left out but for the little that still counts.
    pub rows: Vec<MessageRow>,
    /// Model steps of the running turn that were left out.
    pub earlier_steps: usize,
}

/// A chat with its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRecord {
    /// Execution columns.
    pub head: Head,
    /// Organization.
    pub organization_id: OrganizationId,
    /// Owner.
    pub owner_id: UserId,
    /// Parent, for sub-agent chats.
    pub parent_chat_id: Option<ChatId>,
    /// Root of the family; itself for a root chat.
    pub root_chat_id: ChatId,
    /// Title.
    pub title: String,
    /// Model the next turn uses unless the message names one.
    pub last_model_config_id: ModelConfigId,
    /// Effort picked with the last message.
    pub last_reasoning_effort: Option<String>,
    /// `plan` or unset.
    pub plan_mode: Option<String>,
    /// `ui` or `api`.
    pub client_type: String,
    /// JSON object of labels.
    pub labels: Json,
    /// JSON array of MCP server ids.
    pub mcp_server_ids: Json,
    /// JSON array of client-run tools `{name, description?, input_schema}`.
    pub dynamic_tools: Option<Json>,
    /// Digest of the last turn.
    pub last_turn_summary: Option<String>,
    /// The owner has read up to this message.
    pub last_read_message_id: i64,
    /// Place among the pinned chats; 0 = not pinned.
    pub pin_order: i64,
    /// Manual compaction marker.
    pub compaction_requested_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When a transition last touched it.
    pub updated_at: Timestamp,
    /// The workspace it is bound to.
    pub workspace_id: Option<WorkspaceId>,
    /// The build of the workspace it last used.
    pub build_id: Option<BuildId>,
    /// The agent in the workspace it last used.
    pub agent_id: Option<AgentId>,
    /// JSON array of the `context-file` and `skill` parts that the workspace gave last.
    pub last_injected_context: Option<Json>,
}

/// A chat to be created.
#[derive(Debug, Clone)]
pub struct NewChat {
    /// Id.
    pub id: ChatId,
    /// Organization.
    pub organization_id: OrganizationId,
    /// Owner.
    pub owner_id: UserId,
    /// First title.
    pub title: String,
    /// Model.
    pub model_config_id: ModelConfigId,
    /// Effort.
    pub reasoning_effort: Option<String>,
    /// `plan` or unset.
    pub plan_mode: Option<String>,
    /// `ui` or `api`.
    pub client_type: String,
    /// Labels.
    pub labels: Json,
    /// MCP servers.
    pub mcp_server_ids: Json,
    /// Client-run tools.
    pub dynamic_tools: Option<Json>,
    /// The workspace that it is bound to.
    pub workspace_id: Option<WorkspaceId>,
    /// Files that the first message names.
    pub files: Vec<crate::ids::FileId>,
    /// First rows: system rows, then the user message.
    pub initial: Vec<crate::chat::message::NewMessage>,
}

/// From where somebody who is not up to date is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JoinFrom {
    /// Rows with a greater id; all rows when `None`.
    ///
    /// The read must set `reset`, and bring the full history, when a client-visible row of the chat
    /// with an id not below the one given is soft-deleted. Edits delete suffixes, so this is exactly
    /// when the reader may hold a row that is gone: it says it holds that id, and a reader who
    /// redials with its original `after_id` may hold any later one. `None` says that nothing is held
    /// and never resets.
    AfterId(Option<i64>),
    /// Rows with a greater revision; `reset` and the full history when one of them is soft-deleted.
    Revision(i64),
    /// Goes on with an application that was cut: rows with a greater id or a greater revision;
    /// `reset` and the full history when a row with a greater revision is soft-deleted.
    ///
    /// Deletions up to `revision` need no reset, whatever the id: either the application that was
    /// cut began with one, or it found none.
    Resume {
        /// The last row received of the application; 0 when it was its `history_reset` only.
        after_id: i64,
        /// The history version of the application.
        revision: i64,
    },
}

/// Runnable chat that was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Columns after the claim.
    pub head: Head,
    /// Whether a dead owner was replaced.
    pub takeover: bool,
}

/// A page of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSpec {
    /// Ids strictly below.
    pub before: Option<i64>,
    /// Ids strictly above.
    pub after: Option<i64>,
    /// Most rows.
    pub limit: i64,
}

/// Metadata that a PATCH changes. `None` keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetaPatch {
    /// New title.
    pub title: Option<String>,
    /// New labels.
    pub labels: Option<Json>,
    /// New plan mode; `Some(None)` clears.
    pub plan_mode: Option<Option<String>>,
    /// New place among the pinned; 0 unpins.
    pub pin_order: Option<i64>,
    /// New workspace; `Some(None)` detaches. A change forgets the build and the agent.
    pub workspace_id: Option<Option<WorkspaceId>>,
}
