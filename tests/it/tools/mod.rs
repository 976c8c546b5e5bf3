//! Tools from outside: those that run here, and those that clients run.

mod client_tools;
mod local_tools;

use serde_json::{Value, json};

/// A body that creates a chat with one client-run tool, `ask_client`.
pub fn with_client_tool(text: &str) -> Value {
    json!({
        "content": [{ "type": "text", "text": text }],
        "unsafe_dynamic_tools": [{
            "name": "ask_client",
            "description": "Asks the client.",
            "input_schema": { "type": "object", "properties": { "what": { "type": "string" } } },
        }],
    })
}
