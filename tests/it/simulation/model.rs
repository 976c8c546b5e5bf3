//! What the fake model says in a simulation: slow texts, tool calls of all kinds, failures.

use super::crash::Dice;
use crate::support::fake_model::{Gate, RecordedRequest, Reply, calls, fails, says};
use serde_json::json;
use std::time::Duration;

/// Name of the tool that the client runs.
pub const CLIENT_TOOL: &str = "ask_person";

/// A gate that opens by itself: the model thinks for a while.
fn pause(dice: &mut Dice) -> Gate {
    let gate = Gate::new();
    let opens = gate.clone();
    let time = Duration::from_millis(dice.below(120));
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        opens.open();
    });
    gate
}

/// A text in four pieces that nobody else says.
fn slowly(reply: Reply, text: &str, dice: &mut Dice) -> Reply {
    let mut reply = reply;
    for piece in ["It ", "is ", "so: ", text] {
        reply = reply.says_in([piece]);
        if dice.below(3) > 0 {
            reply = reply.gate(&pause(dice));
        }
    }
    reply
}

/// Answers one request.
pub fn reply(request: &RecordedRequest, dice: &mut Dice) -> Reply {
    let n = request.index;
    let text = format!("answer {n}.");
    let after_tool = request.messages.last().is_some_and(|m| m.role == "tool");
    let shell = || json!({ "query": format!("{n}") });
    match dice.below(if after_tool { 60 } else { 100 }) {
        0..=4 => fails(500, json!({ "error": { "message": "try again", "type": "server_error" } }))
            .header("retry-after", "0"),
        5..=8 => says("half an ans").gate(&pause(dice)).cut(),
        9..=59 => slowly(Reply::empty(), &text, dice),
        60..=74 => slowly(Reply::empty(), &text, dice).calls("list_templates", shell()),
        75..=84 => calls("read_file", json!({ "path": "/nowhere" })).calls("list_templates", shell()),
        85..=94 => slowly(Reply::empty(), &text, dice).calls(CLIENT_TOOL, json!({ "question": n })),
        _ => calls("list_templates", shell()).calls(CLIENT_TOOL, json!({ "question": n })),
    }
}
