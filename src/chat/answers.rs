//! Tool results the state machine itself puts into history: for calls nobody will answer any more,
//! and for calls a client has answered. No provider may ever see a call without a result
//! (state-machine.md §3).

use super::{
    json::Json,
    message::{NewMessage, Part, Role, ToolResultPart, Visibility},
    state::OpenCall,
};
use crate::clock::Timestamp;
use serde::Deserialize;

/// Told to the model about calls that were still open when a user message went into history.
pub const SUPERSEDED: &str = "Cancelled: a new user message arrived before this tool call had a result.";

/// Told to the model about pending client-side calls that a user message interrupted.
pub const INTERRUPTED_BY_MESSAGE: &str = "Cancelled: the user interrupted this tool call with a new message.";

/// Told to the model about calls that were cut off by an interruption of the turn.
pub const INTERRUPTED: &str = "Cancelled: the user interrupted this tool call before it produced a result.";

/// Told to the model about pending client-side calls of a chat that had to be reconciled.
pub const RECONCILED: &str = "Cancelled: the chat had to be recovered from an inconsistent state.";

/// The synthetic result of a call that will never get one: an error whose result is `reason` as a
/// JSON string (agent-loop.md §9).
#[must_use]
pub fn cancelled(call: &OpenCall, reason: &str, now: Timestamp) -> NewMessage {
    answer(call, Json::of(reason), true, now)
}

/// The row that answers `call`, visible to clients and the model: one tool message with one result.
#[must_use]
pub fn answer(call: &OpenCall, result: Json, is_error: bool, now: Timestamp) -> NewMessage {
    let part = ToolResultPart {
        tool_call_id: call.tool_call_id.clone(),
        tool_name: call.tool_name.clone(),
        result: Some(result),
        is_error,
        created_at: Some(now),
        ..ToolResultPart::default()
    };
    NewMessage::new(Role::Tool, Visibility::Both, &[Part::ToolResult(part)])
}

/// The calls that are open once `row` follows a history in which `open` were: its results close
/// calls, its own calls open new ones. Which tools are client-side is not visible in a row, so a
/// call that opens here counts as one of ours.
pub fn follow(open: &mut Vec<OpenCall>, row: &NewMessage) {
    match row.role {
        Role::Assistant | Role::Tool => {}
        Role::System | Role::User => return,
    }
    for part in parts(row) {
        match part.kind.as_str() {
            "tool-call" if !part.provider_executed => open.push(OpenCall {
                tool_call_id: part.tool_call_id,
                tool_name: part.tool_name,
                dynamic: false,
            }),
            "tool-result" => open.retain(|call| call.tool_call_id != part.tool_call_id),
            _ => {}
        }
    }
}

/// Whether `row` holds a result for the call.
#[must_use]
pub fn answers(row: &NewMessage, call: &OpenCall) -> bool {
    parts(row).iter().any(|part| part.kind == "tool-result" && part.tool_call_id == call.tool_call_id)
}

/// What matters here of a part; the rest, which may be megabytes, is skipped and not copied.
#[derive(Deserialize)]
struct CallPart {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    tool_call_id: String,
    #[serde(default)]
    tool_name: String,
    #[serde(default)]
    provider_executed: bool,
}

/// The parts of a row. Content that is no array of parts can neither call a tool nor answer a call.
fn parts(row: &NewMessage) -> Vec<CallPart> {
    row.content.read().unwrap_or_default()
}
