//! The two WebSocket streams: `/chats/{chat}/stream` and `/chats/watch`.

use super::{Fold, http::TOKEN_HEADER};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use std::{collections::VecDeque, time::Duration};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest as _, http::HeaderValue},
};

/// How long a test waits for a state of a stream.
const PATIENCE: Duration = Duration::from_secs(20);
/// Frames that a failed wait prints.
const REMEMBERED: usize = 200;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a socket; the status of the refusal otherwise.
async fn open(url: &str, token: Option<&str>) -> Result<Socket, u16> {
    let mut request = url.into_client_request().expect("a WebSocket URL");
    if let Some(token) = token {
        let value = HeaderValue::from_str(token).expect("a token is plain text");
        request.headers_mut().insert(TOKEN_HEADER, value);
    }
    match tokio::time::timeout(PATIENCE, tokio_tungstenite::connect_async(request)).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(response))) => Err(response.status().as_u16()),
        Ok(Err(e)) => panic!("{url}: {e}"),
        Err(_) => panic!("{url}: no answer to the handshake within {PATIENCE:?}"),
    }
}

/// How a socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Close code; 1006 when there was no close frame.
    pub code: u16,
    /// Reason given.
    pub reason: String,
}

/// The next JSON frame; pings are answered by the library as long as we read.
async fn next_frame(socket: &mut Socket) -> Result<Value, Closed> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return Ok(serde_json::from_str(&text).unwrap_or_else(|e| panic!("not JSON: {e}: {text}")));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) =
                    frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                return Err(Closed { code, reason });
            }
            Some(Ok(other)) => panic!("a frame that is not text: {other:?}"),
            Some(Err(e)) => return Err(Closed { code: 1006, reason: e.to_string() }),
            None => return Err(Closed { code: 1006, reason: "end of stream".to_owned() }),
        }
    }
}

/// A client that follows one chat.
pub struct ChatStream {
    socket: Socket,
    url: String,
    token: Option<String>,
    seen: VecDeque<Value>,
    /// What the client holds.
    pub fold: Fold,
}

impl ChatStream {
    pub(super) async fn open(url: String, token: Option<String>, chat: &str, after_id: Option<i64>) -> Self {
        let full = with_cursor(&url, after_id);
        let socket = open(&full, token.as_deref()).await.unwrap_or_else(|status| panic!("{full}: {status}"));
        Self { socket, url, token, seen: VecDeque::new(), fold: Fold::new(chat, after_id) }
    }

    /// Reads frames until what the client holds satisfies `done`. Fails on a close, on a breach of the
    /// protocol, and after 20 s, with the events seen.
    pub async fn until(&mut self, what: &str, done: impl Fn(&Fold) -> bool) -> &Fold {
        let wait = async {
            while !done(&self.fold) {
                match next_frame(&mut self.socket).await {
                    Ok(frame) => self.take(&frame),
                    Err(closed) => return Err(closed),
                }
            }
            Ok(())
        };
        // Bound here, so that `self` is free again for the report below.
        let result = tokio::time::timeout(PATIENCE, wait).await;
        match result {
            Ok(Ok(())) => &self.fold,
            Ok(Err(closed)) => {
                panic!("the server closed the stream ({closed:?}) before {what}\n{}", self.report())
            }
            Err(_) => panic!("not within {PATIENCE:?}: {what}\n{}", self.report()),
        }
    }

    fn take(&mut self, frame: &Value) {
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(frame.clone());
        let fold = &mut self.fold;
        let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fold.frame(frame)));
        if let Err(panic) = taken {
            eprintln!("the stream broke its protocol; frames so far:\n{}", self.report());
            std::panic::resume_unwind(panic);
        }
    }

    fn report(&self) -> String {
        let frames: Vec<String> = self.seen.iter().map(Value::to_string).collect();
        format!("{}\nheld: {:#?}", frames.join("\n"), self.fold)
    }

    /// The newest events in the order they came, connections before this one included.
    pub fn events(&self) -> Vec<Value> {
        self.seen.iter().flat_map(|frame| frame.as_array().cloned().unwrap_or_default()).collect()
    }

    /// Forgets the events so far, so that [`ChatStream::events`] begins here.
    pub fn forget_events(&mut self) {
        self.seen.clear();
    }

    /// Waits until the turn is over and this many assistant messages are held.
    pub async fn answered(&mut self, answers: usize) -> &Fold {
        self.until(&format!("a turn that ends with {answers} answers"), |fold| {
            fold.settled() && fold.roles().iter().filter(|role| **role == "assistant").count() == answers
        })
        .await
    }

    /// Waits until the preview holds exactly this text.
    pub async fn shows(&mut self, text: &str) -> &Fold {
        self.until(&format!("a preview of {text:?}"), |fold| fold.preview.text() == text).await
    }

    /// Waits until the turn is over: `waiting`, nothing queued, no preview.
    pub async fn settled(&mut self) -> &Fold {
        self.until("the turn is over", Fold::settled).await
    }

    /// Waits for this status.
    pub async fn status(&mut self, status: &str) -> &Fold {
        self.until(&format!("status {status}"), |fold| fold.is(status)).await
    }

    /// Reads until the server closes the stream, and says how it did.
    pub async fn closed(&mut self) -> Closed {
        let wait = async {
            loop {
                match next_frame(&mut self.socket).await {
                    Ok(frame) => self.take(&frame),
                    Err(closed) => return closed,
                }
            }
        };
        let result = tokio::time::timeout(PATIENCE, wait).await;
        result.unwrap_or_else(|_| panic!("the server did not close the stream\n{}", self.report()))
    }

    /// Sends text, which a client must not do on this stream.
    pub async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("send a frame");
    }

    /// Drops the socket without a good-bye and connects again, to the same or another address.
    pub async fn reconnect(&mut self, api: &super::Api, chat: &str, after_id: Option<i64>) {
        self.url = api.url(&format!("/chats/{chat}/stream")).replacen("http://", "ws://", 1);
        let full = with_cursor(&self.url, after_id);
        let socket = open(&full, self.token.as_deref()).await;
        self.socket = socket.unwrap_or_else(|status| panic!("{full}: {status}"));
        self.fold.reconnect(after_id);
    }
}

fn with_cursor(url: &str, after_id: Option<i64>) -> String {
    after_id.map_or_else(|| url.to_owned(), |id| format!("{url}?after_id={id}"))
}

/// Status with which the handshake of a stream is refused.
pub async fn refusal(url: &str, token: Option<&str>) -> u16 {
    match open(&url.replacen("http://", "ws://", 1), token).await {
        Err(status) => status,
        Ok(_) => panic!("{url}: the handshake was accepted"),
    }
}

/// A client that follows its list of chats.
pub struct WatchStream {
    socket: Socket,
    /// Every event so far.
    pub events: Vec<Value>,
}

const WATCH_KINDS: [&str; 7] = [
    "status_change",
    "summary_change",
    "title_change",
    "created",
    "deleted",
    "diff_status_change",
    "action_required",
];

impl WatchStream {
    pub(super) async fn open(url: &str, token: Option<&str>) -> Self {
        let socket = open(url, token).await.unwrap_or_else(|status| panic!("{url}: {status}"));
        Self { socket, events: Vec::new() }
    }

    /// Reads until an event satisfies `wanted`, those already seen included, and returns it.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(found) = self.events.iter().find(|event| wanted(event)) {
            return found.clone();
        }
        let wait = async {
            loop {
                let event = match next_frame(&mut self.socket).await {
                    Ok(event) => event,
                    Err(closed) => return Err(closed),
                };
                check_watch(&event);
                self.events.push(event.clone());
                if wanted(&event) {
                    return Ok(event);
                }
            }
        };
        let result = tokio::time::timeout(PATIENCE, wait).await;
        match result {
            Ok(Ok(event)) => event,
            other => panic!("watch: {what} did not come: {other:?}; seen: {:#?}", self.events),
        }
    }

    /// Waits for an event of this kind about this chat.
    pub async fn kind(&mut self, kind: &str, chat: &str) -> Value {
        let what = format!("{kind} of {chat}");
        self.until(&what, |event| event["kind"] == kind && event["chat"]["id"] == chat).await
    }
}

/// api.md §3.11 and §4.8.
fn check_watch(event: &Value) {
    let kind = event["kind"].as_str().unwrap_or_else(|| panic!("watch: not a bare object: {event}"));
    assert!(WATCH_KINDS.contains(&kind), "watch: unknown kind: {event}");
    let chat = &event["chat"];
    for key in
        ["id", "root_chat_id", "organization_id", "owner_id", "title", "status", "created_at", "updated_at"]
    {
        assert!(chat[key].is_string(), "watch: {key} is missing: {event}");
    }
    assert!(chat["children"].as_array().is_some_and(Vec::is_empty), "watch: filled children: {event}");
    assert!(chat.get("files").is_none(), "watch: files: {event}");
    let calls = event.get("tool_calls").is_some_and(|calls| !calls.is_null());
    assert_eq!(calls, kind == "action_required", "watch: tool_calls: {event}");
}
