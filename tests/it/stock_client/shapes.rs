//! What each object must and must not have (api.md §1.4, §1.5, §3.2–3.9).

use serde_json::Value;

const STATUSES: [&str; 5] = ["waiting", "running", "interrupting", "requires_action", "error"];

/// A lower-case hyphenated UUID.
#[track_caller]
pub fn uuid(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("not a UUID: {value}"));
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let hex = text.chars().all(|c| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c));
    assert!(groups == [8, 4, 4, 4, 12] && hex, "not a UUID: {value}");
}

/// RFC 3339 in UTC, up to microseconds.
#[track_caller]
pub fn time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("not a time: {value}"));
    let seconds = text.strip_suffix('Z').unwrap_or_else(|| panic!("not in UTC: {text}"));
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let form: String = seconds.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let digits = (1..=6).contains(&fraction.len()) && fraction.chars().all(|c| c.is_ascii_digit());
    assert!(form == "0000-00-00T00:00:00" && digits, "not a time: {text}");
}

/// A chat, anywhere.
#[track_caller]
pub fn chat(chat: &Value) {
    for key in ["id", "organization_id", "owner_id", "last_model_config_id", "root_chat_id"] {
        uuid(&chat[key]);
    }
    for key in ["workspace_id", "build_id", "agent_id", "parent_chat_id"] {
        chat.get(key).inspect(|id| uuid(id));
    }
    assert_eq!(chat["root_chat_id"], chat["id"], "a root is its own root: {chat}");
    time(&chat["created_at"]);
    time(&chat["updated_at"]);
    assert!(chat["title"].is_string(), "{chat}");
    assert!(STATUSES.contains(&chat["status"].as_str().unwrap_or_default()), "{chat}");
    let summary = chat.get("last_turn_summary").unwrap_or_else(|| panic!("no last_turn_summary: {chat}"));
    assert!(summary.is_null() || summary.is_string(), "{chat}");
    for key in ["archived", "shared", "has_unread"] {
        assert!(chat[key].is_boolean(), "{key}: {chat}");
    }
    assert!(chat["pin_order"].is_i64(), "{chat}");
    assert!(chat["mcp_server_ids"].is_array() && chat["children"].is_array(), "{chat}");
    assert!(chat["labels"].is_object(), "{chat}");
    assert!(["ui", "api"].contains(&chat["client_type"].as_str().unwrap_or_default()), "{chat}");
    for key in ["files", "warnings", "diff_status", "last_error", "last_injected_context", "context"] {
        let empty = |value: &Value| {
            value.is_null()
                || value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(serde_json::Map::is_empty)
        };
        assert!(!chat.get(key).is_some_and(empty), "{key} is empty and should be left out: {chat}");
    }
    assert_eq!(chat.get("last_error").is_some(), chat["status"] == "error", "{chat}");
    if let Some(error) = chat.get("last_error") {
        assert!(error["message"].is_string() && error["retryable"].is_boolean(), "{chat}");
    }
}

/// A chat in a list or got alone: with its diff status (§3.3).
#[track_caller]
pub fn chat_with_diff(value: &Value) {
    chat(value);
    let diff = &value["diff_status"];
    assert_eq!(diff["chat_id"], value["id"], "{value}");
    assert!(diff["pull_request_title"].is_string(), "{diff}");
    assert!(diff["pull_request_draft"].is_boolean() && diff["changes_requested"].is_boolean(), "{diff}");
    let counts = ["additions", "deletions", "changed_files"];
    assert!(counts.iter().all(|key| diff[*key].is_i64()), "{diff}");
}

/// A chat as create, interrupt and their like answer it.
#[track_caller]
pub fn chat_without_diff(value: &Value) {
    chat(value);
    assert!(value.get("diff_status").is_none(), "{value}");
    assert_eq!(value["children"], serde_json::json!([]), "{value}");
}

fn parts(parts: &Value, whole: &Value) {
    let parts = parts.as_array().unwrap_or_else(|| panic!("not parts: {whole}"));
    assert!(!parts.is_empty(), "empty content is left out: {whole}");
    for part in parts {
        let required: &[&str] = match part["type"].as_str().unwrap_or_default() {
            "text" | "reasoning" => &["text"],
            "tool-call" => &["tool_call_id", "tool_name"],
            "tool-result" => &["tool_call_id", "tool_name", "result"],
            other => panic!("a part of type {other:?}: {part}"),
        };
        assert!(required.iter().all(|key| part.get(key).is_some()), "{part}");
        for key in ["created_at", "completed_at"] {
            part.get(key).inspect(|at| time(at));
        }
    }
}

/// A message (§3.4, §3.5).
#[track_caller]
pub fn message(message: &Value) {
    assert!(message["id"].as_i64().is_some_and(|id| id > 0), "{message}");
    uuid(&message["chat_id"]);
    time(&message["created_at"]);
    message.get("model_config_id").inspect(|id| uuid(id));
    if message["role"] == "user" {
        uuid(&message["created_by"]);
    }
    message.get("content").inspect(|content| parts(content, message));
    if let Some(usage) = message.get("usage") {
        assert_eq!(message["role"], "assistant", "{message}");
        let counts = usage.as_object().expect("usage is an object");
        assert!(!counts.is_empty() && counts.values().all(|n| n.as_i64() > Some(0)), "{message}");
    }
}

/// A queued message (§3.9).
#[track_caller]
pub fn queued(queued: &Value) {
    assert!(queued["id"].as_i64().is_some_and(|id| id > 0), "{queued}");
    uuid(&queued["chat_id"]);
    time(&queued["created_at"]);
    parts(&queued["content"], queued);
}

/// A page of messages (§2.6): newest first unless it was asked for by `after_id` alone.
#[track_caller]
pub fn page(page: &Value) -> Vec<i64> {
    let messages = page["messages"].as_array().unwrap_or_else(|| panic!("no messages: {page}"));
    messages.iter().for_each(message);
    let waiting = page["queued_messages"].as_array().unwrap_or_else(|| panic!("no queued_messages: {page}"));
    waiting.iter().for_each(queued);
    assert!(page["has_more"].is_boolean(), "{page}");
    messages.iter().filter_map(|m| m["id"].as_i64()).collect()
}
