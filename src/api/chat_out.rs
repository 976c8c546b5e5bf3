//! The chat as clients get it (api.md §3.2), with the presence rules of §1.5.

use super::files::FileOut;
use crate::{
    chat::{json::Json, state::Status},
    clock::Timestamp,
    ids::{ChatId, McpServerId, ModelConfigId, OrganizationId, UserId},
    store::records::{ChatRecord, ListedChat, UserRecord},
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
    #[schema(required = true)]
    last_turn_summary: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff_status: Option<DiffStatus>,
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

/// The changes a chat has made to code (api.md §3.3); all zero until something collects them.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DiffStatus {
    chat_id: ChatId,
    pull_request_title: &'static str,
    pull_request_draft: bool,
    changes_requested: bool,
    additions: i64,
    deletions: i64,
    changed_files: i64,
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
            parent_chat_id: chat.parent_chat_id,
            root_chat_id: chat.root_chat_id,
            last_model_config_id: chat.last_model_config_id,
            last_reasoning_effort: chat.last_reasoning_effort.as_deref(),
            title: &chat.title,
            status: chat.head.status,
            plan_mode: chat.plan_mode.as_deref(),
            last_error: chat.head.last_error.as_ref().filter(|_| chat.head.status == Status::Error),
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

    /// As a list has it.
    #[must_use]
    pub fn listed(chat: &'a ListedChat) -> Self {
        Self { has_unread: chat.has_unread, ..Self::new(&chat.chat).with_diff() }
    }

    /// Adds the diff status.
    #[must_use]
    pub fn with_diff(mut self) -> Self {
        self.diff_status = Some(DiffStatus {
            chat_id: self.id,
            pull_request_title: "",
            pull_request_draft: false,
            changes_requested: false,
            additions: 0,
            deletions: 0,
            changed_files: 0,
        });
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

    /// Adds the family's other members.
    #[must_use]
    pub fn with_children(mut self, children: impl Iterator<Item = Self>) -> Self {
        self.children = children.collect();
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
        let listed = ListedChat { chat, has_unread: true };
        let v = serde_json::to_value(ChatOut::listed(&listed)).unwrap();
        assert_eq!(v["last_error"]["retryable"], false);
        assert_eq!(v["has_unread"], true);
        assert_eq!(v["diff_status"]["chat_id"], v["id"]);
        assert_eq!(v["diff_status"]["additions"], 0);
    }
}
