//! The stream clients against a scripted server.

use super::{Api, Closed, refusal};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_tungstenite::tungstenite::{
    Message,
    handshake::server::{ErrorResponse, Request, Response},
    http::StatusCode,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

const CHAT: &str = "11111111-1111-4111-8111-111111111111";

/// Plays one list of messages per connection; reports `path token` of each handshake. A connection
/// without a list is refused with 404.
async fn server(scripts: Vec<Vec<Message>>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut scripts = scripts.into_iter();
        while let Ok((socket, _)) = listener.accept().await {
            let script = scripts.next();
            let seen = seen.clone();
            let refuse = script.is_none();
            #[expect(clippy::result_large_err, reason = "the type is the library's")]
            let handshake = move |request: &Request, response: Response| {
                let token = request.headers().get("Coder-Session-Token").map_or("", |v| v.to_str().unwrap());
                seen.try_send(format!("{} {token}", request.uri())).unwrap();
                if !refuse {
                    return Ok(response);
                }
                let mut refused = ErrorResponse::new(None);
                *refused.status_mut() = StatusCode::NOT_FOUND;
                Err(refused)
            };
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(socket, handshake).await else {
                    return;
                };
                for message in script.unwrap_or_default() {
                    socket.send(message).await.unwrap();
                }
                while socket.next().await.is_some_and(|message| message.is_ok()) {}
            });
        }
    });
    (url, requests)
}

fn frame(events: Value) -> Message {
    Message::text(events.to_string())
}

fn status(status: &str) -> Value {
    json!({ "type": "status", "chat_id": CHAT, "status": { "status": status } })
}

fn going_away() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Away, reason: "Ping failed".into() }))
}

#[tokio::test]
async fn a_stream_is_followed_over_a_reconnect() {
    let first = vec![frame(json!([status("running")])), Message::Ping("x".into()), going_away()];
    let second = vec![frame(json!([status("running")])), frame(json!([status("waiting")]))];
    let (url, mut requests) = server(vec![first, second]).await;
    let api = Api::new(&url, Some("tok"));
    let mut stream = api.stream(CHAT, Some(7)).await;
    stream.status("running").await;
    assert_eq!(stream.closed().await, Closed { code: 1001, reason: "Ping failed".to_owned() });
    stream.reconnect(&api, CHAT, None).await;
    assert_eq!(stream.settled().await.statuses, ["running", "running", "waiting"]);
    let path = format!("/api/experimental/chats/{CHAT}/stream");
    assert_eq!(requests.recv().await.unwrap(), format!("{path}?after_id=7 tok"));
    assert_eq!(requests.recv().await.unwrap(), format!("{path} tok"));
    assert_eq!(refusal(&api.url("/chats/none/stream"), None).await, 404);
}

#[tokio::test]
async fn a_close_or_a_breach_before_the_wanted_state_fails_the_wait() {
    let breach = vec![frame(json!([{ "type": "surprise", "chat_id": CHAT }]))];
    let (url, _requests) = server(vec![vec![going_away()], breach]).await;
    let api = Api::new(&url, None);
    for expected in ["the server closed the stream", "unknown type"] {
        let mut stream = api.stream(CHAT, None).await;
        let failed = AssertUnwindSafe(stream.settled()).catch_unwind().await;
        let said = *failed.expect_err("the wait went well").downcast::<String>().unwrap();
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn the_watch_takes_bare_objects_only() {
    let chat = json!({ "id": CHAT, "root_chat_id": CHAT, "organization_id": "o", "owner_id": "u", "title": "t",
        "status": "running", "created_at": "c", "updated_at": "u", "children": [] });
    let event = |kind: &str| json!({ "kind": kind, "chat": chat });
    let good = vec![frame(event("created")), frame(event("status_change"))];
    let bad = vec![frame(json!([event("created")]))];
    let (url, _requests) = server(vec![good, bad]).await;
    let api = Api::new(&url, None);
    let mut watch = api.watch().await;
    watch.kind("status_change", CHAT).await;
    watch.kind("created", CHAT).await; // seen before
    let mut watch = api.watch().await;
    assert!(AssertUnwindSafe(watch.kind("created", CHAT)).catch_unwind().await.is_err());
}
