//! The reference client takes what the contract allows and refuses the rest.

use super::Fold;
use serde_json::{Value, json};

const CHAT: &str = "11111111-1111-4111-8111-111111111111";

fn message(id: i64, role: &str, text: &str) -> Value {
    let body = json!({ "id": id, "chat_id": CHAT, "role": role, "created_at": "2026-06-10T09:00:00Z",
        "content": [{ "type": "text", "text": text }] });
    json!({ "type": "message", "chat_id": CHAT, "message": body })
}

fn status(status: &str) -> Value {
    json!({ "type": "status", "chat_id": CHAT, "status": { "status": status } })
}

fn part(version: i64, attempt: i64, seq: i64, text: &str) -> Value {
    json!({ "type": "message_part", "chat_id": CHAT, "message_part": { "role": "assistant",
        "part": { "type": "text", "text": text }, "history_version": version, "generation_attempt": attempt,
        "seq": seq } })
}

fn reset(kind: &str) -> Value {
    json!({ "type": kind, "chat_id": CHAT })
}

fn fold(events: &[Value]) -> Fold {
    let mut fold = Fold::new(CHAT, None);
    fold.frame(&json!(events));
    fold
}

#[test]
fn a_plain_turn_ends_with_the_stored_message_and_no_preview() {
    let mut fold =
        fold(&[message(1, "user", "Hi"), status("running"), part(1, 1, 1, "He"), part(1, 1, 2, "llo")]);
    assert_eq!(fold.preview.text(), "Hello");
    assert!(!fold.settled());
    fold.frame(&json!([message(2, "assistant", "Hello"), reset("preview_reset"), status("waiting")]));
    assert!(fold.settled());
    assert_eq!(fold.texts("assistant"), ["Hello"]);
    assert_eq!(fold.roles(), ["user", "assistant"]);
    assert_eq!(fold.last_id(), Some(2));
}

#[test]
fn a_new_attempt_starts_with_an_empty_preview() {
    let fold = fold(&[status("running"), part(3, 1, 1, "old"), reset("preview_reset"), part(3, 2, 1, "new")]);
    assert_eq!(fold.preview.text(), "new");
}

#[test]
fn a_replay_after_a_reconnect_changes_nothing() {
    let first = [message(1, "user", "Hi"), status("running"), part(1, 1, 1, "a"), part(1, 1, 2, "b")];
    let mut fold = fold(&first);
    fold.reconnect(None);
    fold.frame(&json!(first));
    fold.frame(&json!([part(1, 1, 3, "c")]));
    assert_eq!(fold.preview.text(), "abc");
    assert_eq!(fold.messages.len(), 1);
}

#[test]
fn a_history_reset_drops_every_message() {
    let mut fold = fold(&[message(1, "user", "a"), message(2, "assistant", "b"), status("waiting")]);
    fold.frame(&json!([
        reset("history_reset"),
        message(1, "user", "a"),
        message(5, "user", "c"),
        status("running")
    ]));
    assert_eq!(fold.messages.keys().copied().collect::<Vec<_>>(), [1, 5]);
}

#[test]
fn arguments_are_joined_until_the_call_is_complete() {
    let call = |seq: i64, extra: Value| {
        let mut event = part(1, 1, seq, "");
        let mut part = json!({ "type": "tool-call", "tool_call_id": "c", "tool_name": "t" });
        part.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        event["message_part"]["part"] = part;
        event
    };
    let mut fold = fold(&[
        status("running"),
        call(1, json!({ "args_delta": "{\"a\"" })),
        call(2, json!({ "args_delta": ":1}" })),
    ]);
    assert_eq!(fold.preview.args("c"), "{\"a\":1}");
    fold.event(&call(3, json!({ "args": { "a": 1 } })));
    assert_eq!(fold.preview.args("c"), "{\"a\":1}");
}

/// A message of the panic that these events must cause, in a frame of their own after `before`.
fn refused(before: &[Value], frame: Value) -> String {
    let mut fold = Fold::new(CHAT, Some(0));
    if !before.is_empty() {
        fold.frame(&json!(before));
    }
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fold.frame(&frame)));
    let payload = failed.expect_err(&format!("this was accepted: {frame}"));
    payload
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| (*payload.downcast::<&str>().unwrap()).to_owned())
}

#[test]
fn what_a_server_must_not_send_is_refused() {
    let running = [status("running"), part(2, 1, 1, "a")];
    let other = json!({ "type": "status", "chat_id": "other", "status": { "status": "running" } });
    let missing = json!({ "type": "queue_update", "chat_id": CHAT });
    let two = json!({ "type": "status", "chat_id": CHAT, "status": { "status": "running" }, "error": {} });
    let mut empty = message(1, "user", "x");
    empty["message"]["content"] = json!([]);
    let mut delta = message(1, "assistant", "x");
    delta["message"]["content"] = json!([{ "type": "tool-call", "args_delta": "{" }]);
    let stored = [status("running"), part(2, 1, 1, "a"), message(9, "assistant", "a")];
    let done = [stored[0].clone(), stored[1].clone(), stored[2].clone(), reset("preview_reset")];
    let too_many: Vec<Value> = (0..257).map(|_| status("waiting")).collect();
    let failure =
        json!({ "type": "error", "chat_id": CHAT, "error": { "message": "gone", "retryable": true } });
    let cases = [
        (&running[..], json!([failure, status("running")]), "after the session failed"),
        (&[], json!({ "type": "data", "data": [] }), "not an array"),
        (&[], json!([]), "a frame of 0 events"),
        (&[], json!(too_many), "a frame of 257 events"),
        (&[], json!([reset("surprise")]), "unknown type"),
        (&[], json!([other]), "another chat"),
        (&[], json!([missing]), "is missing"),
        (&[], json!([two]), "payload of another type"),
        (&[], json!([status("pending")]), "status \"pending\""),
        (&[], json!([empty]), "empty content"),
        (&[], json!([delta]), "args_delta in a stored part"),
        (&[], json!([message(2, "user", "b"), message(1, "user", "a")]), "in the first sync"),
        (&[], json!([message(0, "user", "a")]), "in the first sync"),
        (&[], json!([part(1, 1, 1, "a")]), "before the first status"),
        (&running, json!([part(2, 1, 3, "c")]), "seq 3 follows 1"),
        (&running, json!([part(2, 1, 1, "a")]), "seq 1 follows 1"),
        (&running, json!([part(1, 7, 2, "b")]), "past episode"),
        (&running, json!([part(2, 2, 2, "b")]), "seq 2 follows 0"),
        (&stored, json!([part(2, 1, 2, "b")]), "whose message is stored"),
        (&stored, json!([part(3, 1, 1, "b")]), "without a preview_reset"),
        (&done, json!([part(2, 1, 1, "a")]), "whose message is stored"),
    ];
    for (before, frame, expected) in cases {
        let said = refused(before, frame);
        assert!(said.contains(expected), "expected {expected:?}, got {said:?}");
    }
}

#[test]
fn a_replay_may_not_differ() {
    let mut fold = fold(&[status("running"), part(1, 1, 1, "a")]);
    fold.reconnect(None);
    fold.frame(&json!([status("running")]));
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fold.event(&part(1, 1, 1, "x"))));
    assert!(failed.is_err());
}
