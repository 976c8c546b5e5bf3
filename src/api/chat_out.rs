//! The chat as clients get it (api.md §3.2), with the presence rules of §1.5.

use super::files::FileOut;
use crate::{
    chat::{json::Json, state::Status},
    clock::Timestamp,
    ids::{AgentId, BuildId, ChatId, McpServerId, ModelConfigId, OrganizationId, UserId, WorkspaceId},
    store::records::{ChatRecord, DiffRecord, ListedChat, UserRecord},
    turn::retry::ChatError,
};
use serde::Serialize;
use utoipa::ToSchema;

/// A chat.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Chat)]
pub struct ChatOut<'a> {
    id: ChatId,
    organization_id: OrganizationId,
    owner_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<WorkspaceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<BuildId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<AgentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_chat_id: Option<ChatId>,
    root_chat_id: ChatId,
    last_model_config_id: ModelConfigId,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_reasoning_effort: Option<&'a str>,
    title: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_mode: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ChatError<'static>>)]
    last_error: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<crate::chat::message::Part>>)]
    last_injected_context: Option<&'a Json>,
    #[schema(required = true)]
    last_turn_summary: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff_status: Option<DiffStatus<'a>>,
    created_at: Timestamp,
    updated_at: Timestamp,
    archived: bool,
    shared: bool,
    pin_order: i64,
    #[schema(value_type = Vec<McpServerId>)]
    mcp_server_ids: &'a Json,
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    labels: &'a Json,
    has_unread: bool,
    client_type: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    files: Vec<FileOut>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
    #[schema(no_recursion, value_type = Vec<ChatOut<'static>>)]
    children: Vec<Self>,
}

/// The changes a chat has made to code (api.md §3.3); all zero until something is known of them.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DiffStatus<'a> {
    chat_id: ChatId,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_request_state: Option<&'a str>,
    pull_request_title: &'a str,
    pull_request_draft: bool,
    changes_requested: bool,
    additions: i64,
    deletions: i64,
    changed_files: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    author_login: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author_avatar_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_branch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_branch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pr_number: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commits: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewer_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refreshed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_at: Option<Timestamp>,
}

impl<'a> DiffStatus<'a> {
    fn new(chat_id: ChatId, diff: Option<&'a DiffRecord>) -> Self {
        Self {
            chat_id,
            url: diff.and_then(|d| d.url.as_deref()),
            pull_request_state: diff.and_then(|d| d.pull_request_state.as_deref()),
            pull_request_title: diff.map_or("", |d| &d.pull_request_title),
            pull_request_draft: diff.is_some_and(|d| d.pull_request_draft),
            changes_requested: diff.is_some_and(|d| d.changes_requested),
            additions: diff.map_or(0, |d| d.additions),
            deletions: diff.map_or(0, |d| d.deletions),
            changed_files: diff.map_or(0, |d| d.changed_files),
            author_login: diff.and_then(|d| d.author_login.as_deref()),
            author_avatar_url: diff.and_then(|d| d.author_avatar_url.as_deref()),
            base_branch: diff.and_then(|d| d.base_branch.as_deref()),
            head_branch: diff.and_then(|d| d.head_branch.as_deref()),
            pr_number: diff.and_then(|d| d.pr_number),
            commits: diff.and_then(|d| d.commits),
            approved: diff.and_then(|d| d.approved),
            reviewer_count: diff.and_then(|d| d.reviewer_count),
            refreshed_at: diff.and_then(|d| d.refreshed_at),
            stale_at: diff.and_then(|d| d.stale_at),
        }
    }
}

impl<'a> ChatOut<'a> {
    /// As create, interrupt and reconcile answer it: without `diff_status`.
    #[must_use]
    pub fn new(chat: &'a ChatRecord) -> Self {
        Self {
            id: chat.head.id,
            organization_id: chat.organization_id,
            owner_id: chat.owner_id,
            owner_username: None,
            owner_name: None,
            workspace_id: chat.workspace_id,
            build_id: chat.build_id,
            agent_id: chat.agent_id,
            parent_chat_id: chat.parent_chat_id,
            root_chat_id: chat.root_chat_id,
            last_model_config_id: chat.last_model_config_id,
            last_reasoning_effort: chat.last_reasoning_effort.as_deref(),
            title: &chat.title,
            status: chat.head.status,
            plan_mode: chat.plan_mode.as_deref(),
            last_error: chat.head.last_error.as_ref().filter(|_| chat.head.status == Status::Error),
            last_injected_context: chat.last_injected_context.as_ref().filter(|parts| parts.get() != "[]"),
            last_turn_summary: chat.last_turn_summary.as_deref(),
            diff_status: None,
            created_at: chat.created_at,
            updated_at: chat.updated_at,
            archived: chat.head.archived,
            shared: false,
            pin_order: chat.pin_order,
            mcp_server_ids: &chat.mcp_server_ids,
            labels: &chat.labels,
            has_unread: false,
            client_type: &chat.client_type,
            files: Vec::new(),
            warnings: Vec::new(),
            children: Vec::new(),
        }
    }

    /// As a list has it, without its children.
    #[must_use]
    pub fn listed(chat: &'a ListedChat) -> Self {
        Self {
            has_unread: chat.has_unread,
            shared: chat.shared,
            ..Self::new(&chat.chat).with_diff(chat.diff.as_ref())
        }
    }

    /// As a list has it, with its children.
    #[must_use]
    pub fn family(chat: &'a ListedChat, owner: &'a UserRecord) -> Self {
        Self {
            children: chat.children.iter().map(|child| Self::family(child, owner)).collect(),
            ..Self::listed(chat).of_owner(owner)
        }
    }

    /// As somebody else than its owner sees it: what the owner has read and pinned is not theirs.
    #[must_use]
    pub fn for_reader(mut self) -> Self {
        (self.has_unread, self.pin_order) = (false, 0);
        self.children = self.children.into_iter().map(Self::for_reader).collect();
        self
    }

    /// Says whether others may read it.
    #[must_use]
    pub fn with_shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// What is shared is not, where sharing is switched off.
    #[must_use]
    pub fn unless_off(mut self, sharing: bool) -> Self {
        self.shared &= sharing;
        self.children = self.children.into_iter().map(|child| child.unless_off(sharing)).collect();
        self
    }

    /// Adds the diff status.
    #[must_use]
    pub fn with_diff(mut self, diff: Option<&'a DiffRecord>) -> Self {
        self.diff_status = Some(DiffStatus::new(self.id, diff));
        self
    }

    /// Adds the owner's names.
    #[must_use]
    pub fn of_owner(mut self, owner: &'a UserRecord) -> Self {
        if owner.id == self.owner_id {
            self.owner_username = Some(&owner.username);
            self.owner_name = Some(owner.name.as_str()).filter(|name| !name.is_empty());
        }
        self
    }

    /// Adds the files it names.
    #[must_use]
    pub fn with_files(mut self, files: impl IntoIterator<Item = FileOut>) -> Self {
        self.files = files.into_iter().collect();
        self
    }

    /// Adds what the caller should know about a write.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chat::state::Versions, store::records::Head};
    use serde_json::{Value, json};

    fn record() -> ChatRecord {
        let id = ChatId::fresh();
        ChatRecord {
            head: Head {
                id,
                status: Status::Running,
                archived: false,
                versions: Versions::default(),
                owner: None,
                last_error: Some(Json::of(&json!({"message": "m", "retryable": false}))),
                retry_state: None,
                requires_action_deadline_at: None,
            },
            organization_id: OrganizationId::fresh(),
            owner_id: UserId::fresh(),
            parent_chat_id: None,
            root_chat_id: id,
            title: "t".into(),
            last_model_config_id: ModelConfigId::fresh(),
            last_reasoning_effort: None,
            plan_mode: None,
            client_type: "api".into(),
            labels: Json::of(&json!({})),
            mcp_server_ids: Json::of(&json!([])),
            dynamic_tools: None,
            last_turn_summary: None,
            last_read_message_id: 0,
            pin_order: 0,
            compaction_requested_at: None,
            created_at: Timestamp::from_micros(0),
            updated_at: Timestamp::from_micros(0),
            workspace_id: None,
            build_id: None,
            agent_id: None,
            last_injected_context: None,
        }
    }

    fn keys(value: &Value) -> Vec<&str> {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn unset_keys_are_left_out_and_the_others_always_there() {
        let mut chat = record();
        let v = serde_json::to_value(ChatOut::new(&chat)).unwrap();
        assert_eq!(
            keys(&v),
            [
                "archived",
                "children",
                "client_type",
                "created_at",
                "has_unread",
                "id",
                "labels",
                "last_model_config_id",
                "last_turn_summary",
                "mcp_server_ids",
                "organization_id",
                "owner_id",
                "pin_order",
                "root_chat_id",
                "shared",
                "status",
                "title",
                "updated_at"
            ]
        );
        assert_eq!(v["last_turn_summary"], Value::Null);
        assert_eq!(
            (&v["labels"], &v["mcp_server_ids"], &v["children"]),
            (&json!({}), &json!([]), &json!([]))
        );
        assert_eq!(v["root_chat_id"], v["id"]);
        chat.head.status = Status::Error;
        chat.workspace_id = Some(WorkspaceId::fresh());
        let listed = ListedChat { chat, has_unread: true, shared: true, diff: None, children: Vec::new() };
        let v = serde_json::to_value(ChatOut::listed(&listed)).unwrap();
        assert_eq!(v["last_error"]["retryable"], false);
        assert_eq!((&v["has_unread"], &v["shared"]), (&json!(true), &json!(true)));
        assert!(v["workspace_id"].is_string() && v.get("build_id").is_none(), "{v}");
        assert_eq!(v["diff_status"]["chat_id"], v["id"]);
        assert_eq!(v["diff_status"]["additions"], 0);
    }
}
