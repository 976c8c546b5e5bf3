//! Rows for tests, in few words.

use crate::{
    chat::{
        json::Json,
        message::{NewMessage, Part, Role, StepFigures, ToolCallPart, ToolResultPart, Usage, Visibility},
    },
    clock::Timestamp,
    ids::{ChatId, MessageId},
    store::records::MessageRow,
};

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_780_000_000_000_000 + seconds * 1_000_000)
}

pub fn text(text: &str) -> Part {
    Part::Text { text: text.into() }
}

pub fn call(id: &str, name: &str) -> Part {
    Part::ToolCall(ToolCallPart {
        tool_call_id: id.into(),
        tool_name: name.into(),
        args: Some(Json::of(&serde_json::json!({}))),
        ..Default::default()
    })
}

pub fn result(id: &str, name: &str) -> Part {
    Part::ToolResult(ToolResultPart {
        tool_call_id: id.into(),
        tool_name: name.into(),
        result: Some(Json::of(&serde_json::json!({"ok": true}))),
        ..Default::default()
    })
}

pub fn row(message: NewMessage) -> MessageRow {
    MessageRow {
        id: MessageId(0),
        chat_id: ChatId(uuid::Uuid::nil()),
        revision: 1,
        deleted: false,
        role: message.role,
        visibility: message.visibility,
        content: message.content,
        native: message.native,
        created_by: message.created_by,
        model_config_id: message.model_config_id,
        compressed: message.compressed,
        figures: message.figures,
        created_at: at(0),
    }
}

pub fn with_parts(role: Role, parts: &[Part]) -> MessageRow {
    row(NewMessage::new(role, Visibility::Both, parts))
}

pub fn user(words: &str) -> MessageRow {
    with_parts(Role::User, &[text(words)])
}

pub fn assistant(parts: &[Part]) -> MessageRow {
    with_parts(Role::Assistant, parts)
}

/// An assistant row that had `tokens` of context.
pub fn measured(parts: &[Part], tokens: i64) -> MessageRow {
    let mut row = assistant(parts);
    row.figures =
        StepFigures { usage: Usage { input_tokens: tokens, ..Usage::default() }, ..StepFigures::default() };
    row
}

pub fn tool(id: &str, name: &str) -> MessageRow {
    with_parts(Role::Tool, &[result(id, name)])
}

/// Numbers the rows in ascending id and time.
pub fn rows(mut list: Vec<MessageRow>) -> Vec<MessageRow> {
    for (row, id) in list.iter_mut().zip(1..) {
        row.id = MessageId(id);
        row.created_at = at(id);
    }
    list
}
