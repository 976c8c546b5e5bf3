//! What a frame of a stream looks like, for the OpenAPI document. [`super::wire`] writes the frames by
//! hand, as a part must be serialised once and without copies; a test keeps the two in step.

#![allow(dead_code, reason = "these types are described, never made")]

use super::wire::{MessageOut, PendingCallOut, QueuedOut};
use crate::{
    chat::{
        message::{Part, Role},
        state::Status,
    },
    ids::ChatId,
    turn::retry::{ChatError, RetryState},
};
use utoipa::ToSchema;

/// One event of a stream (api.md §4.2). A frame is an array of 1 to 256 of them.
#[derive(ToSchema)]
#[schema(as = StreamEvent)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamEvent {
    /// A piece of output of the running attempt.
    MessagePart {
        /// The chat in the path.
        chat_id: ChatId,
        /// The piece with its place in its episode.
        message_part: MessagePart,
    },
    /// A stored message, new or revised.
    Message {
        /// The chat in the path.
        chat_id: ChatId,
        /// The message.
        message: MessageOut,
    },
    /// The status.
    Status {
        /// The chat in the path.
        chat_id: ChatId,
        /// The status.
        status: StatusPayload,
    },
    /// The error that ended a turn.
    Error {
        /// The chat in the path.
        chat_id: ChatId,
        /// The error.
        error: ChatError<'static>,
    },
    /// The whole queue.
    QueueUpdate {
        /// The chat in the path.
        chat_id: ChatId,
        /// In processing order; empty when nothing waits.
        queued_messages: Vec<QueuedOut>,
    },
    /// A failed attempt, and when the next one starts.
    Retry {
        /// The chat in the path.
        chat_id: ChatId,
        /// The retry.
        retry: RetryState<'static>,
    },
    /// Client-side tool calls are pending.
    ActionRequired {
        /// The chat in the path.
        chat_id: ChatId,
        /// The calls.
        action_required: ActionRequired,
    },
    /// Drop the live, not yet stored preview.
    PreviewReset {
        /// The chat in the path.
        chat_id: ChatId,
    },
    /// Drop every message held; the full history follows.
    HistoryReset {
        /// The chat in the path.
        chat_id: ChatId,
    },
}

/// A live part with its place in its episode (api.md §4.5).
#[derive(ToSchema)]
pub struct MessagePart {
    /// `assistant`, or `tool` for results.
    pub role: Role,
    /// The part.
    pub part: Part,
    /// The history that the model was given.
    pub history_version: i64,
    /// The attempt under that history, from 1.
    pub generation_attempt: i64,
    /// Place in the episode, from 1 without gaps.
    pub seq: u64,
}

/// Payload of a `status` event.
#[derive(ToSchema)]
pub struct StatusPayload {
    /// The status.
    pub status: Status,
}

/// Payload of an `action_required` event.
#[derive(ToSchema)]
pub struct ActionRequired {
    /// The calls.
    pub tool_calls: Vec<PendingCallOut>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::json::Json,
        clock::Timestamp,
        ids::MessageId,
        stream::{
            episode::EpisodeKey,
            wire::{Event, PartOut, Payload},
        },
    };
    use serde_json::{Value, json};
    use std::collections::BTreeSet;
    use utoipa::PartialSchema as _;

    #[test]
    fn the_description_has_every_event_with_its_keys() {
        let schema = serde_json::to_value(StreamEvent::schema()).unwrap();
        let described: BTreeSet<(String, BTreeSet<String>)> = schema["oneOf"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| {
                let kind = v["properties"]["type"]["enum"][0].as_str().unwrap().to_owned();
                (kind, serde_json::from_value(v["required"].clone()).unwrap())
            })
            .collect();
        let part = Part::Text { text: "t".into() };
        let key = EpisodeKey { history_version: 1, generation_attempt: 1 };
        let chat_id = ChatId::fresh();
        let message = MessageOut {
            id: MessageId(1),
            chat_id,
            created_by: None,
            model_config_id: None,
            created_at: Timestamp::from_micros(0),
            role: Role::User,
            content: None,
            usage: None,
        };
        let sent = [
            Payload::MessagePart(PartOut { role: Role::Assistant, part: &part, key, seq: 1 }),
            Payload::Message(message),
            Payload::Status(Status::Running),
            Payload::Error(Json::of(&json!({}))),
            Payload::QueueUpdate(Vec::new()),
            Payload::Retry(Json::of(&json!({}))),
            Payload::ActionRequired(Vec::new()),
            Payload::PreviewReset,
            Payload::HistoryReset,
        ]
        .map(|payload| {
            let event: Value = serde_json::from_str(&Event { chat_id, payload }.encode()).unwrap();
            let keys = event.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
            (event["type"].as_str().unwrap().to_owned(), keys)
        });
        assert_eq!(described, BTreeSet::from(sent));
    }
}
