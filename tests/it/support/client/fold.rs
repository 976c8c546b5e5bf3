//! The reference client: what a correct client of api.md §4.2–4.5 holds after each event.
//!
//! It is as strict as the contract allows and panics on the first event a server must not send.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Event types and the payload key each carries.
const PAYLOADS: [(&str, Option<&str>); 9] = [
    ("message_part", Some("message_part")),
    ("message", Some("message")),
    ("status", Some("status")),
    ("error", Some("error")),
    ("queue_update", Some("queued_messages")),
    ("retry", Some("retry")),
    ("action_required", Some("action_required")),
    ("preview_reset", None),
    ("history_reset", None),
];

const STATUSES: [&str; 5] = ["waiting", "running", "interrupting", "requires_action", "error"];

/// The live, not yet stored output of one attempt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Preview {
    /// The `part` objects in the order of `seq`.
    pub parts: Vec<Value>,
}

impl Preview {
    fn joined(&self, kind: &str) -> String {
        let of_kind = self.parts.iter().filter(|part| part["type"] == kind);
        of_kind.map(|part| part["text"].as_str().unwrap_or_default()).collect()
    }

    /// All text so far.
    pub fn text(&self) -> String {
        self.joined("text")
    }

    /// All reasoning so far.
    pub fn reasoning(&self) -> String {
        self.joined("reasoning")
    }

    /// Argument text of a call: the whole when it is complete, else the pieces so far.
    pub fn args(&self, tool_call_id: &str) -> String {
        let mut pieces = String::new();
        for part in
            self.parts.iter().filter(|p| p["type"] == "tool-call" && p["tool_call_id"] == tool_call_id)
        {
            if let Some(args) = part.get("args").filter(|args| !args.is_null()) {
                return args.to_string();
            }
            pieces.push_str(part["args_delta"].as_str().unwrap_or_default());
        }
        pieces
    }
}

/// What a client holds of one chat.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    chat: String,
    /// By id.
    pub messages: BTreeMap<i64, Value>,
    pub status: Option<String>,
    /// Every status seen, in order.
    pub statuses: Vec<String>,
    pub queue: Vec<Value>,
    pub error: Option<Value>,
    /// Retries seen, in order.
    pub retries: Vec<Value>,
    /// The last call for action that has not been answered.
    pub action_required: Option<Value>,
    pub preview: Preview,
    /// (`history_version`, `generation_attempt`) of the newest part, and its `seq`. Outlives a reset
    /// of the preview, because older episodes must not come back.
    episode: Option<(i64, i64)>,
    seq: i64,
    /// A stored message came after the newest part: its episode is over.
    over: bool,
    /// The preview holds text of a past episode until `preview_reset` comes.
    stale: bool,
    /// Set by a reconnect: parts are replayed from 1 and those already held are skipped.
    replayed: Option<i64>,
    /// The session failed: an `error` came while the chat was not in status `error`.
    failed: bool,
    /// No status has come yet on this connection: the first sync is still under way.
    first_sync: bool,
    after_id: Option<i64>,
    last_message: i64,
    /// How often the history was reset.
    pub history_resets: u32,
}

impl Fold {
    /// A client that has just connected with this `after_id`.
    pub fn new(chat: &str, after_id: Option<i64>) -> Self {
        Self { chat: chat.to_owned(), after_id, first_sync: true, ..Self::default() }
    }

    /// The same client after it has connected again.
    pub fn reconnect(&mut self, after_id: Option<i64>) {
        self.after_id = after_id;
        self.first_sync = true;
        self.last_message = 0;
        self.replayed = Some(0);
        self.failed = false;
    }

    /// The highest id held, to reconnect with.
    pub fn last_id(&self) -> Option<i64> {
        self.messages.keys().next_back().copied()
    }

    /// Roles of the messages held, in order of their ids.
    pub fn roles(&self) -> Vec<&str> {
        self.messages.values().map(|m| m["role"].as_str().unwrap_or_default()).collect()
    }

    /// Texts of the messages of one role, in order; each is the concatenation of its text parts.
    pub fn texts(&self, role: &str) -> Vec<String> {
        let of_role = self.messages.values().filter(|m| m["role"] == role);
        of_role
            .map(|m| {
                parts(m).iter().filter_map(|p| p["text"].as_str().filter(|_| p["type"] == "text")).collect()
            })
            .collect()
    }

    /// All parts of all messages of one type, in order.
    pub fn parts_of(&self, kind: &str) -> Vec<Value> {
        let all = self.messages.values().flat_map(parts);
        all.filter(|part| part["type"] == kind).cloned().collect()
    }

    /// The chat stands in this status.
    pub fn is(&self, status: &str) -> bool {
        self.status.as_deref() == Some(status)
    }

    /// The turn is over and everything of it is stored.
    pub fn settled(&self) -> bool {
        self.is("waiting") && self.preview.parts.is_empty() && self.queue.is_empty()
    }

    /// Takes one frame: an array of 1 to 256 events.
    pub fn frame(&mut self, frame: &Value) {
        let events = frame.as_array().unwrap_or_else(|| panic!("a frame is not an array: {frame}"));
        assert!((1..=256).contains(&events.len()), "a frame of {} events", events.len());
        for event in events {
            self.event(event);
        }
    }

    /// Takes one event.
    pub fn event(&mut self, event: &Value) {
        let object = event.as_object().unwrap_or_else(|| panic!("an event is not an object: {event}"));
        assert!(!self.failed, "an event after the session failed with {:?}: {event}", self.error);
        let kind = string(object, "type", event);
        let known = PAYLOADS.iter().find(|(name, _)| *name == kind);
        let (_, key) = known.unwrap_or_else(|| panic!("an event of unknown type: {event}"));
        assert_eq!(string(object, "chat_id", event), self.chat, "an event of another chat: {event}");
        for (_, other) in PAYLOADS {
            let (here, due) = (other.is_some_and(|other| object.contains_key(other)), other == *key);
            assert!(!here || due, "a payload of another type: {event}");
        }
        let payload = key.map_or(&Value::Null, |key| {
            object.get(key).unwrap_or_else(|| panic!("the payload {key:?} is missing: {event}"))
        });
        match kind {
            "message" => self.message(payload),
            "status" => self.status(payload),
            "message_part" => self.part(payload),
            "queue_update" => self.queue_update(payload),
            "error" => {
                // Outside of status `error` it is the failure of the session: nothing may follow.
                self.failed = !self.is("error");
                let whole = payload["message"].is_string() && payload["retryable"].is_boolean();
                assert!(whole, "not a chat error: {payload}");
                self.error = Some(payload.clone());
            }
            "retry" => {
                let whole = payload["attempt"].as_i64().is_some_and(|n| n >= 1)
                    && payload["delay_ms"].is_i64()
                    && payload["error"].is_string()
                    && payload["retrying_at"].is_string();
                assert!(whole, "not a retry: {payload}");
                self.retries.push(payload.clone());
            }
            "action_required" => {
                assert!(self.is("requires_action"), "action required while {:?}: {payload}", self.status);
                let calls =
                    payload["tool_calls"].as_array().unwrap_or_else(|| panic!("no tool_calls: {payload}"));
                let whole = |call: &Value| {
                    let args =
                        call["args"].as_str().is_some_and(|text| serde_json::from_str::<Value>(text).is_ok());
                    args && call["tool_call_id"].is_string() && call["tool_name"].is_string()
                };
                assert!(!calls.is_empty() && calls.iter().all(whole), "not an action: {payload}");
                self.action_required = Some(payload.clone());
            }
            "preview_reset" => {
                self.preview = Preview::default();
                (self.seq, self.stale) = (0, false);
                self.replayed = None;
            }
            "history_reset" => {
                self.messages.clear();
                self.last_message = 0;
                self.after_id = None;
                self.history_resets += 1;
                self.episode_ends();
            }
            other => unreachable!("{other} is in the table of payloads"),
        }
    }

    fn episode_ends(&mut self) {
        self.over = true;
        self.stale = !self.preview.parts.is_empty();
    }

    fn message(&mut self, message: &Value) {
        let object = message.as_object().unwrap_or_else(|| panic!("not a message: {message}"));
        let id = integer(object, "id", message);
        assert_eq!(string(object, "chat_id", message), self.chat, "a message of another chat: {message}");
        let role = string(object, "role", message);
        assert!(["system", "user", "assistant", "tool"].contains(&role), "role {role:?}: {message}");
        assert!(object["created_at"].is_string(), "a message without created_at: {message}");
        if let Some(content) = object.get("content") {
            assert!(content.as_array().is_some_and(|parts| !parts.is_empty()), "empty content: {message}");
        }
        for part in parts(message) {
            check_stored(part);
        }
        if self.first_sync {
            // Later a row may be revised, and two syncs may share a frame.
            assert!(id > self.last_message, "message {id} after {} in the first sync", self.last_message);
            assert!(
                self.after_id.is_none_or(|after| id > after),
                "message {id} although after_id={:?}",
                self.after_id
            );
            self.last_message = id;
        }
        let known = self.messages.insert(id, message.clone());
        // A replay after a reconnect repeats messages without anything having moved.
        if known.as_ref() != Some(message) {
            self.episode_ends();
        }
    }

    fn status(&mut self, payload: &Value) {
        let status = payload["status"].as_str().unwrap_or_else(|| panic!("not a status: {payload}"));
        assert!(STATUSES.contains(&status), "status {status:?}");
        self.first_sync = false;
        if status != "error" {
            self.error = None;
        }
        if status != "requires_action" {
            self.action_required = None;
        }
        self.status = Some(status.to_owned());
        self.statuses.push(status.to_owned());
    }

    fn queue_update(&mut self, queue: &Value) {
        let queue = queue.as_array().unwrap_or_else(|| panic!("not a queue: {queue}"));
        for row in queue {
            let whole = row["id"].is_i64()
                && row["chat_id"] == *self.chat
                && row["created_at"].is_string()
                && row["content"].is_array();
            assert!(whole, "not a queued message: {row}");
        }
        assert!(queue.len() <= 20, "a queue of {}", queue.len());
        self.queue.clone_from(queue);
    }

    fn part(&mut self, payload: &Value) {
        let object = payload.as_object().unwrap_or_else(|| panic!("not a part: {payload}"));
        assert!(!self.first_sync, "a part before the first status: {payload}");
        let pair =
            (integer(object, "history_version", payload), integer(object, "generation_attempt", payload));
        let seq = integer(object, "seq", payload);
        assert!(pair.1 >= 1 && seq >= 1, "attempts and seq count from 1: {payload}");
        assert!(payload["part"]["type"].is_string(), "a part without type: {payload}");
        let newest = self.episode.unwrap_or((i64::MIN, 0));
        assert!(pair >= newest, "a part of the past episode {pair:?}, after {newest:?}: {payload}");
        if pair > newest {
            let moved = pair.0 != newest.0;
            assert!(!(self.stale && moved), "episode {pair:?} begins without a preview_reset: {payload}");
            self.preview = Preview::default();
            (self.episode, self.seq) = (Some(pair), 0);
            (self.over, self.stale, self.replayed) = (false, false, None);
        }
        assert!(!self.over, "a part of episode {pair:?}, whose message is stored: {payload}");
        if let Some(replayed) = self.replayed
            && seq <= self.seq
        {
            assert_eq!(seq, replayed + 1, "a gap in the replay: {payload}");
            let held = &self.preview.parts[usize::try_from(seq - 1).expect("seq counts from 1")];
            assert_eq!(held, &payload["part"], "the replay of seq {seq} differs");
            self.replayed = Some(seq);
            return;
        }
        self.replayed = None;
        assert_eq!(seq, self.seq + 1, "seq {seq} follows {} in episode {pair:?}: {payload}", self.seq);
        self.seq = seq;
        self.preview.parts.push(payload["part"].clone());
    }
}

fn parts(message: &Value) -> &[Value] {
    message["content"].as_array().map_or(&[], Vec::as_slice)
}

/// Stored parts have whole values, and nothing in them is for the server alone (api.md §3.6).
fn check_stored(part: &Value) {
    let object = part.as_object().unwrap_or_else(|| panic!("not a part: {part}"));
    for key in ["args_delta", "result_delta", "result_reset", "provider_metadata", "signature"] {
        assert!(!object.contains_key(key), "{key} in a stored part: {part}");
    }
    assert!(object.get("type").is_some_and(Value::is_string), "a part without type: {part}");
    assert!(
        !(object.contains_key("data") && object.get("file_id").is_some_and(Value::is_string)),
        "data beside file_id"
    );
}

fn string<'a>(object: &'a Map<String, Value>, key: &str, whole: &Value) -> &'a str {
    let value = object.get(key).and_then(Value::as_str);
    value.unwrap_or_else(|| panic!("{key:?} is missing or no string: {whole}"))
}

fn integer(object: &Map<String, Value>, key: &str, whole: &Value) -> i64 {
    let value = object.get(key).and_then(Value::as_i64);
    value.unwrap_or_else(|| panic!("{key:?} is missing or no integer: {whole}"))
}
