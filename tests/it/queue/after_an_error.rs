//! A queue whose turn failed.

use super::texts;
use crate::support::{
    Harness, both,
    client::{Api, ChatStream},
    daemon::DaemonProcess,
    fake_model::{Gate, fails, says},
    turns::id,
};
use serde_json::json;

/// A chat in `error` with `b` and `c` queued.
async fn failed(h: &Harness) -> (DaemonProcess, Api, String, ChatStream) {
    let gate = Gate::new();
    h.model.push([fails(401, json!({ "error": { "message": "bad key" } })).gate(&gate)]);
    let daemon = h.daemon().await;
    let api = daemon.api();
    let chat = id(&api.create_chat("a").await);
    let mut stream = api.stream(&chat, None).await;
    gate.reached().await;
    api.send(&chat, "b").await;
    api.send(&chat, "c").await;
    stream.until("the queue", |f| f.queue.len() == 2).await;
    gate.open();
    stream.until("the error", |f| f.error.is_some()).await;
    assert_eq!(texts(&stream.fold.queue), ["b", "c"]);
    (daemon, api, chat, stream)
}

both! {
    async fn a_message_after_a_failure_joins_the_queue_and_starts_its_head(h: Harness) {
        let (_daemon, api, chat, mut stream) = failed(&h).await;
        h.model.push([says("B."), says("C."), says("D.")]);
        assert_eq!(api.send(&chat, "d").await["queued"], json!(true));
        let held = stream.answered(3).await;
        assert_eq!(held.texts("user"), ["a", "b", "c", "d"]);
        assert_eq!(held.texts("assistant"), ["B.", "C.", "D."]);
    }

    async fn promoting_after_a_failure_starts_that_message_at_once(h: Harness) {
        let (_daemon, api, chat, mut stream) = failed(&h).await;
        h.model.push([says("C."), says("B.")]);
        let c = stream.fold.queue[1]["id"].clone();
        api.post(&format!("/chats/{chat}/queue/{c}/promote"), json!({})).await.json(202);
        let held = stream.answered(2).await;
        assert_eq!(held.texts("user"), ["a", "c", "b"]);
        assert!(api.chat(&chat).await.get("last_error").is_none());
    }

    async fn a_failed_chat_with_a_queue_survives_the_archive(h: Harness) {
        let (_daemon, api, chat, mut stream) = failed(&h).await;
        let path = format!("/chats/{chat}");
        api.patch(&path, json!({ "archived": true })).await.empty(204);
        let b = &stream.fold.queue[0]["id"].clone();
        api.delete(&format!("{path}/queue/{b}")).await.problem(400);
        api.post(&format!("{path}/queue/{b}/promote"), json!({})).await.problem(400);
        api.patch(&path, json!({ "archived": false })).await.empty(204);
        assert_eq!(api.queue(&chat).await.len(), 2);
        api.post(&format!("{path}/clear"), json!({})).await.problem(409);
        api.delete(&format!("{path}/queue/{b}")).await.empty(204);
        let c = stream.until("a shorter queue", |f| f.queue.len() == 1).await.queue[0]["id"].clone();
        api.delete(&format!("{path}/queue/{c}")).await.empty(204);
        h.model.push([says("D.")]);
        assert_eq!(api.send(&chat, "d").await["queued"], json!(false));
        assert_eq!(stream.answered(1).await.texts("user"), ["a", "d"]);
    }
}
