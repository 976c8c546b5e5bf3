//! What tests of turns share: the model calls that are turns, and how events read.

use super::{
    Harness,
    fake_model::{RecordedRequest, SeenMessage},
};
use serde_json::{Value, json};

impl Harness {
    /// Waits for model call number `n` of the turns, counted from 0; titles and labels do not count.
    pub async fn turn(&self, n: usize) -> RecordedRequest {
        self.model.request(n).await
    }

    /// How many model calls the turns have made so far.
    pub fn turns(&self) -> usize {
        self.model.requests().len()
    }

    /// Adds keys to the one declared model.
    pub fn configure_model(&self, toml: &str) {
        let mut model = self.config()["models"][0].as_table().expect("a model is a table").clone();
        model.extend(toml.parse::<toml::Table>().unwrap_or_else(|e| panic!("{e}: {toml}")));
        let mut over = toml::Table::new();
        over.insert("models".into(), toml::Value::Array(vec![model.into()]));
        self.configure(&over.to_string());
    }
}

/// The conversation of a request without its system texts, one `role: text` a message.
pub fn conversation(request: &RecordedRequest) -> Vec<String> {
    let all = request.messages.iter().filter(|m| m.role != "system");
    all.map(|SeenMessage { role, text, .. }| format!("{role}: {text}")).collect()
}

/// Events as words: `message user`, `status running`, `message_part`; a run of one word is one.
pub fn words(events: &[Value]) -> Vec<String> {
    let mut words: Vec<String> = events
        .iter()
        .map(|event| {
            let kind = event["type"].as_str().unwrap_or_default();
            match kind {
                "message" => format!("message {}", event["message"]["role"].as_str().unwrap_or_default()),
                "status" => format!("status {}", event["status"]["status"].as_str().unwrap_or_default()),
                "queue_update" => {
                    format!("queue of {}", event["queued_messages"].as_array().map_or(0, Vec::len))
                }
                _ => kind.to_owned(),
            }
        })
        .collect();
    words.dedup();
    words
}

/// The `message_part` payloads among events.
pub fn live_parts(events: &[Value]) -> Vec<Value> {
    events.iter().filter(|e| e["type"] == "message_part").map(|e| e["message_part"].clone()).collect()
}

/// Id of a chat.
pub fn id(chat: &Value) -> String {
    chat["id"].as_str().unwrap_or_else(|| panic!("a chat without id: {chat}")).to_owned()
}

/// A body with one text.
pub fn text(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }] })
}

/// The folder that the prompt names to the model.
pub fn working_directory(request: &RecordedRequest) -> String {
    let system = request.system();
    let found = system.lines().find_map(|line| line.strip_prefix("Working Directory: "));
    found.unwrap_or_else(|| panic!("no working directory in the prompt: {system}")).trim().to_owned()
}
