//! Frames: bare JSON arrays of events (api.md §4.1).

use super::wire::{Event, Payload};
use crate::{chat::json::Json, ids::ChatId};
use bytestring::ByteString;
use serde_json::json;

/// Most events in one frame (api.md §4.1).
pub const MAX_EVENTS: usize = 256;

/// Default of the bytes above which a frame takes no further event. Clients read frames of up to 4 MiB
/// (api.md §1.7). This is far less, as up to 32 frames are copied for each socket that does not drain: what waits
/// before that is shared by all readers.
pub const MAX_BYTES: usize = 256 << 10;

/// Packs events that are JSON objects already into frames, in order. Every frame has 1 to
/// [`MAX_EVENTS`] events and at most [`MAX_BYTES`], except that an event larger than that is a frame
/// of its own.
pub fn encode_batch<E: AsRef<str>>(events: &[E]) -> Vec<ByteString> {
    frames(events, MAX_BYTES).map(|(_, frame)| frame).collect()
}

/// The last frame of a session that fails on this side: one `error` event (api.md §4.4).
#[must_use]
pub fn failure(chat: ChatId) -> ByteString {
    let error = Json::of(&json!({
        "message": "The chat cannot be read at the moment. Please reconnect.",
        "kind": "generic",
        "retryable": true,
    }));
    let event = Event { chat_id: chat, payload: Payload::Error(error) }.encode();
    ByteString::from(format!("[{event}]"))
}

/// The frames of `events`, each with the number of events in it and all before it.
pub(super) fn frames<E: AsRef<str>>(
    events: &[E],
    max_bytes: usize,
) -> impl Iterator<Item = (usize, ByteString)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let first = events.get(start)?;
        // Two brackets; each event after the first brings a comma.
        let mut bytes = 2 + first.as_ref().len();
        let mut end = start + 1;
        while let Some(next) = events.get(end) {
            let more = bytes + 1 + next.as_ref().len();
            if end - start == MAX_EVENTS || more > max_bytes {
                break;
            }
            bytes = more;
            end += 1;
        }
        let mut text = String::with_capacity(bytes);
        text.push('[');
        text.push_str(first.as_ref());
        for event in &events[start + 1..end] {
            text.push(',');
            text.push_str(event.as_ref());
        }
        text.push(']');
        start = end;
        Some((end, ByteString::from(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_makes_no_frame() {
        assert!(encode_batch::<&str>(&[]).is_empty());
    }

    #[test]
    fn a_giant_stands_alone() {
        let giant = format!("\"{}\"", "x".repeat(MAX_BYTES));
        let frames = encode_batch(&["1", &giant, "2", "3"]);
        assert_eq!(frames.iter().map(|f| f.len()).collect::<Vec<_>>(), [3, giant.len() + 2, 5]);
    }

    proptest! {
        #[test]
        fn frames_hold_every_event_once_in_order(sizes in proptest::collection::vec(
            prop_oneof![20 => 0_usize..40, 1 => 300_usize..700], 0..600)) {
            let events: Vec<String> = sizes.iter().enumerate().map(|(i, n)| format!("\"{i}{}\"", "x".repeat(*n))).collect();
            let mut seen: Vec<String> = Vec::new();
            for (end, frame) in frames(&events, 1000) {
                let some: Vec<serde_json::Value> = serde_json::from_str(&frame).unwrap();
                prop_assert!((1..=MAX_EVENTS).contains(&some.len()));
                prop_assert!(frame.len() <= 1000);
                seen.extend(some.iter().map(ToString::to_string));
                prop_assert_eq!(seen.len(), end);
            }
            prop_assert_eq!(seen, events);
        }
    }
}
