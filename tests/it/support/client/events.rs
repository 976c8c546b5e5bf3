//! A client of server-sent events.

use super::Fold;
use futures_util::StreamExt as _;
use serde_json::Value;
use std::{pin::Pin, time::Duration};

/// How long a test waits for a state of a stream.
const PATIENCE: Duration = Duration::from_secs(20);

type Bytes = Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; empty for `message`.
    pub kind: String,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Its data, lines joined.
    pub data: String,
}

/// A client that follows one chat by events.
pub struct EventStream {
    bytes: Bytes,
    buffer: Vec<u8>,
    /// Id of the last event that had one.
    pub last_event_id: Option<String>,
    /// Comments seen, which keep the connection alive.
    pub comments: usize,
    /// What the client holds.
    pub fold: Fold,
}

impl EventStream {
    pub(super) fn new(response: reqwest::Response, chat: &str, after_id: Option<i64>) -> Self {
        let kind = response.headers()["content-type"].to_str().expect("a text").to_owned();
        assert_eq!((response.status().as_u16(), kind.as_str()), (200, "text/event-stream"));
        Self {
            bytes: Box::pin(response.bytes_stream()),
            buffer: Vec::new(),
            last_event_id: None,
            comments: 0,
            fold: Fold::new(chat, after_id),
        }
    }

    /// The events of a response, whatever they are about.
    pub fn of(response: reqwest::Response) -> Self {
        Self::new(response, "", None)
    }

    /// Waits until something comes, be it a comment.
    pub async fn pass(&mut self) {
        let more = tokio::time::timeout(PATIENCE, self.bytes.next()).await.expect("in time");
        self.buffer.extend(more.expect("the stream goes on").expect("bytes"));
        while let Some(at) = self.buffer.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = self.buffer.drain(..at + 2).collect();
            self.read(std::str::from_utf8(&block).expect("UTF-8"));
        }
    }

    /// Goes on with another connection, as `EventSource` does.
    pub(super) fn go_on(&mut self, response: reqwest::Response, after_id: Option<i64>) {
        let fresh = Self::new(response, "", None);
        self.bytes = fresh.bytes;
        self.buffer = Vec::new();
        self.fold.reconnect(after_id);
    }

    /// The next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        let wait = async {
            loop {
                if let Some(at) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                    let block: Vec<u8> = self.buffer.drain(..at + 2).collect();
                    if let Some(event) = self.read(std::str::from_utf8(&block).expect("UTF-8")) {
                        return Some(event);
                    }
                    continue;
                }
                match self.bytes.next().await {
                    Some(Ok(more)) => self.buffer.extend(more),
                    Some(Err(e)) => panic!("the stream broke: {e}"),
                    None => return None,
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no event within {PATIENCE:?}"))
    }

    fn read(&mut self, block: &str) -> Option<Event> {
        let mut event = Event::default();
        let mut data: Vec<&str> = Vec::new();
        for line in block.lines().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "" => self.comments += 1,
                "data" => data.push(value),
                "id" => event.id = Some(value.to_owned()),
                "event" => event.kind = value.to_owned(),
                "retry" => assert!(value.parse::<u64>().is_ok(), "{line}"),
                other => panic!("an unknown field {other:?}"),
            }
        }
        if let Some(id) = &event.id {
            self.last_event_id = Some(id.clone());
        }
        event.data = data.join("\n");
        (!data.is_empty()).then_some(event)
    }

    /// Takes the next event into the fold. Fails at the end.
    pub async fn step(&mut self) {
        let event = self.next().await.expect("the stream goes on");
        assert_eq!(event.kind, "", "{event:?}");
        let frame: Value = serde_json::from_str(&event.data).expect("JSON");
        self.fold.frame(&frame);
    }

    /// Reads until what the client holds satisfies `done`.
    pub async fn until(&mut self, what: &str, done: impl Fn(&Fold) -> bool) -> &Fold {
        let wait = async {
            while !done(&self.fold) {
                self.step().await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("not within {PATIENCE:?}: {what}\nheld: {:#?}", self.fold);
        }
        &self.fold
    }

    /// Reads to the last event, and gives its code and reason.
    pub async fn closed(&mut self) -> (u64, String) {
        loop {
            let event = self.next().await.expect("a last event that says why");
            if event.kind == "close" {
                let why: Value = serde_json::from_str(&event.data).expect("JSON");
                assert!(self.next().await.is_none(), "nothing comes after the end");
                let reason = why["reason"].as_str().expect("a reason").to_owned();
                return (why["code"].as_u64().expect("a code"), reason);
            }
        }
    }
}
