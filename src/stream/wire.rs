//! The objects clients get, exactly as api.md §3 and §4.2 have them. Stored JSON (content, errors,
//! retry state) is relayed as the bytes it is stored in.

use crate::{
    chat::{
        json::Json,
        message::{Part, Role, Usage},
        state::Status,
    },
    clock::Timestamp,
    ids::{ChatId, MessageId, ModelConfigId, QueuedId, UserId},
    store::records::{MessageRow, PendingCall, QueuedRow},
    stream::episode::EpisodeKey,
};
use bytestring::ByteString;
use serde::{Serialize, Serializer, ser::SerializeMap};
use utoipa::ToSchema;

/// A message (api.md §3.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Message)]
pub struct MessageOut {
    /// Id.
    pub id: MessageId,
    /// The chat.
    pub chat_id: ChatId,
    /// Author; user messages only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<UserId>,
    /// Model, when known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_config_id: Option<ModelConfigId>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// Who speaks.
    pub role: Role,
    /// The parts as stored; left out when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Part>>)]
    pub content: Option<Json>,
    /// Token counts; assistant messages only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageOut>,
}

/// Token counts of an assistant message (api.md §3.5): zero means unset and is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Usage)]
#[allow(missing_docs, reason = "see chat::message::Usage and StepFigures")]
pub struct UsageOut {
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub input_tokens: i64,
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub output_tokens: i64,
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub total_tokens: i64,
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub reasoning_tokens: i64,
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub cache_creation_tokens: i64,
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub cache_read_tokens: i64,
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub context_limit: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl UsageOut {
    /// The counts to show, if there is one that is not zero.
    #[must_use]
    pub fn of(usage: &Usage, context_limit: Option<i64>) -> Option<Self> {
        let context_limit = context_limit.unwrap_or(0);
        (*usage != Usage::default() || context_limit != 0).then_some(Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            total_tokens: usage.total_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            cache_creation_tokens: usage.cache_creation_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            context_limit,
        })
    }
}

/// Whether JSON text is an array without elements, told without parsing it.
fn is_empty_array(json: &Json) -> bool {
    json.get()
        .trim()
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .is_some_and(|inner| inner.trim().is_empty())
}

impl From<&MessageRow> for MessageOut {
    fn from(row: &MessageRow) -> Self {
        let usage = match row.role {
            Role::Assistant => UsageOut::of(&row.figures.usage, row.figures.context_limit),
            Role::System | Role::User | Role::Tool => None,
        };
        Self {
            id: row.id,
            chat_id: row.chat_id,
            created_by: if row.role == Role::User { row.created_by } else { None },
            model_config_id: row.model_config_id,
            created_at: row.created_at,
            role: row.role,
            content: (!is_empty_array(&row.content)).then(|| row.content.clone()),
            usage,
        }
    }
}

/// A queued message (api.md §3.9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = QueuedMessage)]
pub struct QueuedOut {
    /// Id, in the id space of the queue.
    pub id: QueuedId,
    /// The chat.
    pub chat_id: ChatId,
    /// Model asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_config_id: Option<ModelConfigId>,
    /// The parts as stored.
    #[schema(value_type = Vec<Part>)]
    pub content: Json,
    /// When it was accepted.
    pub created_at: Timestamp,
}

impl From<&QueuedRow> for QueuedOut {
    fn from(row: &QueuedRow) -> Self {
        Self {
            id: row.id,
            chat_id: row.chat_id,
            model_config_id: row.model_config_id,
            content: row.content.clone(),
            created_at: row.created_at,
        }
    }
}

/// A client-side call that waits for its result (api.md §3.11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PendingToolCall)]
pub struct PendingCallOut {
    /// Id of the call.
    pub tool_call_id: String,
    /// Tool.
    pub tool_name: String,
    /// A JSON string that holds JSON text.
    pub args: String,
}

impl From<&PendingCall> for PendingCallOut {
    fn from(call: &PendingCall) -> Self {
        Self {
            tool_call_id: call.tool_call_id.clone(),
            tool_name: call.tool_name.clone(),
            args: call.args.clone(),
        }
    }
}

/// A live part with its place in its episode (api.md §4.5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartOut<'a> {
    /// Who speaks: assistant, or tool for results.
    pub role: Role,
    /// The part.
    pub part: &'a Part,
    /// The episode.
    pub key: EpisodeKey,
    /// Place in the episode, from 1.
    pub seq: u64,
}

impl Serialize for PartOut<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(5))?;
        map.serialize_entry("role", &self.role)?;
        match self.part {
            // The bytes of a stored file are fetched by its id (api.md §3.6).
            Part::File { media_type, name, data: Some(_), file_id: Some(id) } => {
                let bare = Part::File {
                    media_type: media_type.clone(),
                    name: name.clone(),
                    data: None,
                    file_id: Some(*id),
                };
                map.serialize_entry("part", &bare)?;
            }
            part => map.serialize_entry("part", part)?,
        }
        map.serialize_entry("history_version", &self.key.history_version)?;
        map.serialize_entry("generation_attempt", &self.key.generation_attempt)?;
        map.serialize_entry("seq", &self.seq)?;
        map.end()
    }
}

/// What an event says. `'a` is the part of a [`Payload::MessagePart`], which is never copied.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload<'a> {
    /// A piece of output of the running attempt.
    MessagePart(PartOut<'a>),
    /// A stored message, new or revised.
    Message(MessageOut),
    /// The status.
    Status(Status),
    /// An error object (api.md §3.10), as stored in `last_error`.
    Error(Json),
    /// The whole queue; an array even when it is empty.
    QueueUpdate(Vec<QueuedOut>),
    /// A retry object (api.md §3.11), as stored in `retry_state`.
    Retry(Json),
    /// The pending client-side calls.
    ActionRequired(Vec<PendingCallOut>),
    /// Drop the live preview.
    PreviewReset,
    /// Drop every message; the full history follows.
    HistoryReset,
}

/// One event of a stream (api.md §4.2).
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    /// The chat in the path.
    pub chat_id: ChatId,
    /// What happened.
    pub payload: Payload<'a>,
}

#[derive(Serialize)]
struct StatusObject {
    status: Status,
}

#[derive(Serialize)]
struct ActionObject<'a> {
    tool_calls: &'a [PendingCallOut],
}

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("type", self.payload.kind())?;
        map.serialize_entry("chat_id", &self.chat_id)?;
        match &self.payload {
            Payload::MessagePart(part) => map.serialize_entry("message_part", part)?,
            Payload::Message(message) => map.serialize_entry("message", message)?,
            Payload::Status(status) => map.serialize_entry("status", &StatusObject { status: *status })?,
            Payload::Error(error) => map.serialize_entry("error", error)?,
            Payload::QueueUpdate(queue) => map.serialize_entry("queued_messages", queue)?,
            Payload::Retry(retry) => map.serialize_entry("retry", retry)?,
            Payload::ActionRequired(calls) => {
                map.serialize_entry("action_required", &ActionObject { tool_calls: calls })?;
            }
            Payload::PreviewReset | Payload::HistoryReset => {}
        }
        map.end()
    }
}

impl Payload<'_> {
    /// The event's `type`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::MessagePart(_) => "message_part",
            Self::Message(_) => "message",
            Self::Status(_) => "status",
            Self::Error(_) => "error",
            Self::QueueUpdate(_) => "queue_update",
            Self::Retry(_) => "retry",
            Self::ActionRequired(_) => "action_required",
            Self::PreviewReset => "preview_reset",
            Self::HistoryReset => "history_reset",
        }
    }
}

impl Event<'_> {
    /// The event as JSON text, ready to be shared by every frame it goes into.
    #[must_use]
    pub fn encode(&self) -> ByteString {
        // 224: an event of a short text delta fits without a second allocation.
        let mut buf = Vec::with_capacity(224);
        // Writing to memory cannot fail, and these types have no map with other keys than strings.
        serde_json::to_writer(&mut buf, self).expect("an event is always serialisable");
        ByteString::try_from(buf).expect("serde_json writes UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::message::{StepFigures, ToolCallPart, Visibility},
        ids::FileId,
    };
    use serde_json::{Value, json};

    fn chat() -> ChatId {
        "11111111-1111-4111-8111-111111111111".parse().unwrap()
    }
    fn row(role: Role, content: &str) -> MessageRow {
        MessageRow {
            id: MessageId(7),
            chat_id: chat(),
            revision: 3,
            deleted: false,
            role,
            visibility: Visibility::Both,
            content: Json::parse(content.into()).unwrap(),
            native: Some(Json::parse("{\"secret\":1}".into()).unwrap()),
            created_by: Some("33333333-3333-4333-8333-333333333333".parse().unwrap()),
            model_config_id: None,
            compressed: false,
            figures: StepFigures {
                usage: Usage { input_tokens: 5, ..Usage::default() },
                context_limit: Some(100),
                cost_micros: Some(9),
                ..StepFigures::default()
            },
            created_at: Timestamp::from_micros(0),
        }
    }
    fn event(payload: Payload<'_>) -> Value {
        serde_json::from_str(&Event { chat_id: chat(), payload }.encode()).unwrap()
    }

    #[test]
    fn a_message_has_exactly_its_keys() {
        let id = chat().to_string();
        let by = "33333333-3333-4333-8333-333333333333";
        let v = |m: &MessageRow| serde_json::to_value(MessageOut::from(m)).unwrap();
        assert_eq!(
            v(&row(Role::User, "[{\"type\":\"text\",\"text\":\"a\"}]")),
            json!({"id": 7, "chat_id": id, "created_by": by, "created_at": "1970-01-01T00:00:00Z", "role": "user",
                   "content": [{"type": "text", "text": "a"}]})
        );
        assert_eq!(
            v(&row(Role::Assistant, " [ ] ")),
            json!({"id": 7, "chat_id": id, "created_at": "1970-01-01T00:00:00Z", "role": "assistant",
                   "usage": {"input_tokens": 5, "context_limit": 100}})
        );
        let mut silent = row(Role::Assistant, "[]");
        silent.figures = StepFigures::default();
        assert_eq!(v(&silent).get("usage"), None);
    }

    #[test]
    fn content_keeps_its_bytes() {
        let odd = "[ {\"z\":1.0,\n\"a\":1e2} ]";
        let text =
            Event { chat_id: chat(), payload: Payload::Message((&row(Role::Tool, odd)).into()) }.encode();
        assert!(text.contains(odd), "{text}");
    }

    #[test]
    fn each_event_has_exactly_its_payload_key() {
        let id = chat().to_string();
        assert_eq!(
            event(Payload::Status(Status::RequiresAction)),
            json!({"type": "status", "chat_id": id, "status": {"status": "requires_action"}})
        );
        assert_eq!(
            event(Payload::QueueUpdate(vec![])),
            json!({"type": "queue_update", "chat_id": id, "queued_messages": []})
        );
        assert_eq!(event(Payload::PreviewReset), json!({"type": "preview_reset", "chat_id": id}));
        assert_eq!(event(Payload::HistoryReset), json!({"type": "history_reset", "chat_id": id}));
        let error = Json::parse("{\"message\":\"m\",\"retryable\":false}".into()).unwrap();
        assert_eq!(
            event(Payload::Error(error)),
            json!({"type": "error", "chat_id": id, "error": {"message": "m", "retryable": false}})
        );
        let retry = Json::parse("{\"attempt\":1}".into()).unwrap();
        assert_eq!(
            event(Payload::Retry(retry)),
            json!({"type": "retry", "chat_id": id, "retry": {"attempt": 1}})
        );
        let call =
            PendingCallOut { tool_call_id: "c".into(), tool_name: "t".into(), args: "{\"x\":1}".into() };
        assert_eq!(
            event(Payload::ActionRequired(vec![call])),
            json!({"type": "action_required", "chat_id": id, "action_required":
                   {"tool_calls": [{"tool_call_id": "c", "tool_name": "t", "args": "{\"x\":1}"}]}})
        );
    }

    #[test]
    fn a_part_carries_its_place_and_no_bytes_of_a_stored_file() {
        let key = EpisodeKey { history_version: 4, generation_attempt: 2 };
        let part = |part: &Part| {
            event(Payload::MessagePart(PartOut { role: Role::Assistant, part, key, seq: 9 }))["message_part"]
                .take()
        };
        assert_eq!(
            part(&Part::ToolCall(ToolCallPart {
                tool_call_id: "c".into(),
                tool_name: "t".into(),
                args_delta: Some("{\"".into()),
                ..ToolCallPart::default()
            })),
            json!({"role": "assistant", "history_version": 4, "generation_attempt": 2, "seq": 9,
                   "part": {"type": "tool-call", "tool_call_id": "c", "tool_name": "t", "args_delta": "{\""}})
        );
        let file_id = Some(FileId::fresh());
        let stored =
            Part::File { media_type: "image/png".into(), name: None, data: Some("AA==".into()), file_id };
        assert_eq!(part(&stored)["part"].get("data"), None);
        let inline = Part::File {
            media_type: "image/png".into(),
            name: None,
            data: Some("AA==".into()),
            file_id: None,
        };
        assert_eq!(part(&inline)["part"]["data"], "AA==");
    }
}
