//! Diesel's view of the rows, and how they become [`super::records`].

use super::{
    error::Error,
    records::{Head, MessageRow, QueuedRow},
    schema::{chat_messages, chat_queued_messages, chats},
    types::{Id, Raw, Ts},
};
use crate::{
    chat::{
        json::Json,
        message::{NewMessage, Role, StepFigures, Usage, Visibility},
        plan::Columns,
        state::{Owner, Status, Versions},
    },
    clock::Timestamp,
    ids::{ChatId, MessageId, ModelConfigId, QueuedId, RunnerId, UserId, WorkerId},
};
use diesel::{
    Selectable,
    prelude::{Insertable, Queryable, QueryableByName},
};

pub(super) fn status_of(text: &str) -> Result<Status, Error> {
    Status::ALL
        .into_iter()
        .find(|s| s.as_str() == text)
        .ok_or_else(|| Error::Corrupt(format!("chat status {text:?}")))
}

pub(super) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

const fn visibility_name(v: Visibility) -> &'static str {
    match v {
        Visibility::User => "user",
        Visibility::Model => "model",
        Visibility::Both => "both",
    }
}

pub(super) fn role_of(text: &str) -> Result<Role, Error> {
    [Role::System, Role::User, Role::Assistant, Role::Tool]
        .into_iter()
        .find(|r| role_name(*r) == text)
        .ok_or_else(|| Error::Corrupt(format!("message role {text:?}")))
}

pub(super) fn visibility_of(text: &str) -> Result<Visibility, Error> {
    [Visibility::User, Visibility::Model, Visibility::Both]
        .into_iter()
        .find(|v| visibility_name(*v) == text)
        .ok_or_else(|| Error::Corrupt(format!("message visibility {text:?}")))
}

/// The execution columns of a chat, and what a commit needs beside them.
#[derive(Debug, Clone, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = chats, treat_none_as_default_value = false)]
pub(super) struct HeadRow {
    pub id: Id,
    pub parent_chat_id: Option<Id>,
    pub owner_id: Id,
    pub status: String,
    pub archived: bool,
    pub worker_id: Option<Id>,
    pub runner_id: Option<Id>,
    pub last_error: Option<Raw>,
    pub retry_state: Option<Raw>,
    pub requires_action_deadline_at: Option<Ts>,
    pub compaction_requested_at: Option<Ts>,
    pub snapshot_version: i64,
    pub history_version: i64,
    pub queue_version: i64,
    pub retry_state_version: i64,
    pub generation_attempt: i64,
    pub dynamic_tools: Option<Raw>,
}

impl HeadRow {
    /// The columns of a chat that a plan creates.
    pub fn new(
        id: ChatId,
        parent: Option<ChatId>,
        owner: UserId,
        c: Columns,
        dynamic_tools: Option<Json>,
    ) -> Self {
        Self {
            id: Id(id.0),
            parent_chat_id: parent.map(|p| Id(p.0)),
            owner_id: Id(owner.0),
            status: c.status.as_str().to_owned(),
            archived: c.archived,
            worker_id: c.owner.map(|o| Id(o.worker.0)),
            runner_id: c.owner.map(|o| Id(o.runner.0)),
            last_error: c.last_error.map(Raw),
            retry_state: c.retry_state.map(Raw),
            requires_action_deadline_at: c.requires_action_deadline_at.map(Ts),
            compaction_requested_at: c.compaction_requested_at.map(Ts),
            snapshot_version: c.versions.snapshot,
            history_version: c.versions.history,
            queue_version: c.versions.queue,
            retry_state_version: c.versions.retry_state,
            generation_attempt: c.versions.attempt,
            dynamic_tools: dynamic_tools.map(Raw),
        }
    }

    pub fn versions(&self) -> Versions {
        Versions {
            snapshot: self.snapshot_version,
            history: self.history_version,
            queue: self.queue_version,
            retry_state: self.retry_state_version,
            attempt: self.generation_attempt,
        }
    }

    pub fn owner(&self) -> Option<Owner> {
        Some(Owner { worker: WorkerId(self.worker_id?.0), runner: RunnerId(self.runner_id?.0) })
    }

    pub fn head(self) -> Result<Head, Error> {
        Ok(Head {
            id: ChatId(self.id.0),
            status: status_of(&self.status)?,
            archived: self.archived,
            versions: self.versions(),
            owner: self.owner(),
            last_error: self.last_error.map(|r| r.0),
            retry_state: self.retry_state.map(|r| r.0),
            requires_action_deadline_at: self.requires_action_deadline_at.map(|t| t.0),
        })
    }
}

/// The execution columns as an update. `None` means NULL, not "leave".
#[derive(Debug)]
pub(super) struct ColumnsRow {
    pub status: &'static str,
    pub archived: bool,
    pub worker_id: Option<Id>,
    pub runner_id: Option<Id>,
    pub last_error: Option<Raw>,
    pub retry_state: Option<Raw>,
    pub requires_action_deadline_at: Option<Ts>,
    pub compaction_requested_at: Option<Ts>,
    pub snapshot_version: i64,
    pub history_version: i64,
    pub queue_version: i64,
    pub retry_state_version: i64,
    pub generation_attempt: i64,
    pub updated_at: Ts,
}

impl ColumnsRow {
    pub fn new(c: &Columns, now: Timestamp) -> Self {
        Self {
            status: c.status.as_str(),
            archived: c.archived,
            worker_id: c.owner.map(|o| Id(o.worker.0)),
            runner_id: c.owner.map(|o| Id(o.runner.0)),
            last_error: c.last_error.clone().map(Raw),
            retry_state: c.retry_state.clone().map(Raw),
            requires_action_deadline_at: c.requires_action_deadline_at.map(Ts),
            compaction_requested_at: c.compaction_requested_at.map(Ts),
            snapshot_version: c.versions.snapshot,
            history_version: c.versions.history,
            queue_version: c.versions.queue,
            retry_state_version: c.versions.retry_state,
            generation_attempt: c.versions.attempt,
            updated_at: Ts(now),
        }
    }
}

/// A message to insert.
#[derive(Debug, Insertable)]
#[diesel(table_name = chat_messages, treat_none_as_default_value = false)]
pub(super) struct InsertMessage {
    pub chat_id: Id,
    pub revision: i64,
    pub deleted: bool,
    pub role: &'static str,
    pub visibility: &'static str,
    pub content: Raw,
    pub native: Option<Raw>,
    pub created_by: Option<Id>,
    pub model_config_id: Option<Id>,
    pub compressed: bool,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub total_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    pub cache_creation_tokens: Option<i64>,
    pub cache_read_tokens: Option<i64>,
    pub context_limit: Option<i64>,
    pub total_cost_micros: Option<i64>,
    pub runtime_ms: Option<i64>,
    pub provider_response_id: Option<String>,
    pub created_at: Ts,
}

/// Zero token counts are stored as unset (api.md §1.5).
fn some_count(n: i64) -> Option<i64> {
    (n != 0).then_some(n)
}

impl InsertMessage {
    pub fn new(chat: ChatId, revision: i64, now: Timestamp, m: NewMessage) -> Self {
        let u = m.figures.usage;
        Self {
            chat_id: Id(chat.0),
            revision,
            deleted: false,
            role: role_name(m.role),
            visibility: visibility_name(m.visibility),
            content: Raw(m.content),
            native: m.native.map(Raw),
            created_by: m.created_by.map(|u| Id(u.0)),
            model_config_id: m.model_config_id.map(|m| Id(m.0)),
            compressed: m.compressed,
            input_tokens: some_count(u.input_tokens),
            output_tokens: some_count(u.output_tokens),
            total_tokens: some_count(u.total_tokens),
            reasoning_tokens: some_count(u.reasoning_tokens),
            cache_creation_tokens: some_count(u.cache_creation_tokens),
            cache_read_tokens: some_count(u.cache_read_tokens),
            context_limit: m.figures.context_limit.and_then(some_count),
            total_cost_micros: m.figures.cost_micros,
            runtime_ms: m.figures.runtime_ms,
            provider_response_id: m.figures.provider_response_id,
            created_at: Ts(now),
        }
    }

    /// The row this becomes once the database has given it an id.
    pub fn stored(self, id: i64) -> SelectMessage {
        SelectMessage {
            id,
            chat_id: self.chat_id,
            revision: self.revision,
            deleted: self.deleted,
            role: self.role.to_owned(),
            visibility: self.visibility.to_owned(),
            content: self.content,
            native: self.native,
            created_by: self.created_by,
            model_config_id: self.model_config_id,
            compressed: self.compressed,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            total_tokens: self.total_tokens,
            reasoning_tokens: self.reasoning_tokens,
            cache_creation_tokens: self.cache_creation_tokens,
            cache_read_tokens: self.cache_read_tokens,
            context_limit: self.context_limit,
            total_cost_micros: self.total_cost_micros,
            runtime_ms: self.runtime_ms,
            provider_response_id: self.provider_response_id,
            created_at: self.created_at,
        }
    }
}

/// A stored message.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = chat_messages)]
pub(super) struct SelectMessage {
    pub id: i64,
    pub chat_id: Id,
    pub revision: i64,
    pub deleted: bool,
    pub role: String,
    pub visibility: String,
    pub content: Raw,
    pub native: Option<Raw>,
    pub created_by: Option<Id>,
    pub model_config_id: Option<Id>,
    pub compressed: bool,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub total_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    pub cache_creation_tokens: Option<i64>,
    pub cache_read_tokens: Option<i64>,
    pub context_limit: Option<i64>,
    pub total_cost_micros: Option<i64>,
    pub runtime_ms: Option<i64>,
    pub provider_response_id: Option<String>,
    pub created_at: Ts,
}

impl TryFrom<SelectMessage> for MessageRow {
    type Error = Error;
    fn try_from(m: SelectMessage) -> Result<Self, Error> {
        Ok(Self {
            id: MessageId(m.id),
            chat_id: ChatId(m.chat_id.0),
            revision: m.revision,
            deleted: m.deleted,
            role: role_of(&m.role)?,
            visibility: visibility_of(&m.visibility)?,
            content: m.content.0,
            native: m.native.map(|r| r.0),
            created_by: m.created_by.map(|u| UserId(u.0)),
            model_config_id: m.model_config_id.map(|m| ModelConfigId(m.0)),
            compressed: m.compressed,
            figures: StepFigures {
                usage: Usage {
                    input_tokens: m.input_tokens.unwrap_or(0),
                    output_tokens: m.output_tokens.unwrap_or(0),
                    total_tokens: m.total_tokens.unwrap_or(0),
                    reasoning_tokens: m.reasoning_tokens.unwrap_or(0),
                    cache_creation_tokens: m.cache_creation_tokens.unwrap_or(0),
                    cache_read_tokens: m.cache_read_tokens.unwrap_or(0),
                },
                context_limit: m.context_limit,
                cost_micros: m.total_cost_micros,
                runtime_ms: m.runtime_ms,
                provider_response_id: m.provider_response_id,
            },
            created_at: m.created_at.0,
        })
    }
}

/// A queued message to insert.
#[derive(Debug, Insertable)]
#[diesel(table_name = chat_queued_messages, treat_none_as_default_value = false)]
pub(super) struct InsertQueued {
    pub chat_id: Id,
    pub position: i64,
    pub content: Raw,
    pub created_by: Option<Id>,
    pub model_config_id: Option<Id>,
    pub created_at: Ts,
}

/// A stored queued message.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = chat_queued_messages)]
pub(super) struct SelectQueued {
    pub id: i64,
    pub chat_id: Id,
    pub content: Raw,
    pub created_by: Option<Id>,
    pub model_config_id: Option<Id>,
    pub created_at: Ts,
}

impl From<SelectQueued> for QueuedRow {
    fn from(q: SelectQueued) -> Self {
        Self {
            id: QueuedId(q.id),
            chat_id: ChatId(q.chat_id.0),
            content: q.content.0,
            created_by: q.created_by.map(|u| UserId(u.0)),
            model_config_id: q.model_config_id.map(|m| ModelConfigId(m.0)),
            created_at: q.created_at.0,
        }
    }
}
