//! Server-sent events: what a socket sends, for clients that cannot or may not open one. The data of an event
//! is what a text frame would be, so that both are read by one decoder.

use super::{
    auth::Caller,
    problem::{Problem, Result},
    sockets::{Next, Source, Stay, stopping},
    state::ApiState,
};
use crate::{actors::subscription::CloseReason, ids::ChatId};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap},
    web,
};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use std::{convert::Infallible, fmt::Write as _, task::Poll};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

/// Content type of event streams.
pub const MEDIA_TYPE: &str = "text/event-stream";
/// Header with which a client says what it has.
const LAST_EVENT_ID: &str = "last-event-id";
/// How long a client waits before it comes back, in milliseconds.
const COME_BACK: &str = "retry: 1000\n\n";

/// Whether the client wants events, and no socket.
#[must_use]
pub fn wanted(request: &HttpRequest) -> bool {
    let accepts = |headers: &HeaderMap| {
        let values = headers.get_all(header::ACCEPT).filter_map(|v| v.to_str().ok());
        let mut types = values.flat_map(|v| v.split(','));
        types.any(|t| t.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case(MEDIA_TYPE)))
    };
    !request.headers().contains_key(header::UPGRADE) && accepts(request.headers())
}

/// The highest message id that the client says it has. An empty header says nothing.
///
/// # Errors
/// 400 when it is no id of ours.
pub fn last_event_id(request: &HttpRequest) -> Result<Option<i64>> {
    let Some(value) = request.headers().get(LAST_EVENT_ID).filter(|v| !v.is_empty()) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.trim().parse().ok()).filter(|id| *id >= 0);
    id.map(Some).ok_or_else(|| {
        Problem::field("Last-Event-ID", "Last-Event-ID must be the id of an event of this stream.")
    })
}

/// An event stream whose response is on its way.
pub struct Events {
    out: mpsc::Sender<Bytes>,
    state: web::Data<ApiState>,
    stay: Stay,
    /// Highest message id that was sent, or that the client had.
    last: Option<i64>,
}

/// Answers with a stream of events. `last` is what the client has.
///
/// # Errors
/// 503 when this replica is about to stop.
pub fn open(state: web::Data<ApiState>, caller: Caller, last: Option<i64>) -> Result<(HttpResponse, Events)> {
    if state.is_draining() {
        return Err(Problem::unavailable("This replica is shutting down.", "draining"));
    }
    // One: what the client does not take waits where its bounds are, in the queue of the source.
    let (out, mut chunks) = mpsc::channel::<Bytes>(1);
    let body = stream::poll_fn(move |context| match chunks.poll_recv(context) {
        Poll::Ready(chunk) => Poll::Ready(chunk.map(Ok::<_, Infallible>)),
        Poll::Pending => Poll::Pending,
    });
    let response = HttpResponse::Ok()
        .content_type(MEDIA_TYPE)
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        // nginx would collect what belongs to nobody yet.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(body);
    let stay = Stay::new(state.clone(), Some(caller));
    Ok((response, Events { out, state, stay, last }))
}

/// Why a stream ends. `None`: the client is gone, there is nobody to tell.
type End = Option<(u16, &'static str)>;

impl Events {
    /// The stream ends when the caller may no longer read this chat.
    pub fn only_while_readable(&mut self, chat: ChatId) {
        self.stay.readable = Some(chat);
    }

    /// Forwards frames as events until one of the sides ends it. The last event tells why.
    pub async fn run(mut self, mut source: impl Source) {
        if let Some((code, reason)) = self.forward(&mut source).await {
            let reason = serde_json::json!({ "code": code, "reason": reason });
            let told = self.out.send(format!("event: close\ndata: {reason}\n\n").into());
            if timeout(self.state.settings.write_timeout, told).await.is_err() {
                tracing::debug!("the last event did not get through");
            }
        }
    }

    async fn forward(&mut self, source: &mut impl Source) -> End {
        let (period, deadline) = (self.state.settings.ping_interval, self.state.settings.write_timeout);
        let lagging = Some((CloseReason::Lagging.code(), CloseReason::Lagging.reason()));
        let mut ping = interval_at(Instant::now() + period, period);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut draining = self.state.draining.clone();
        let mut chunk: Bytes = COME_BACK.into();
        loop {
            match timeout(deadline, self.out.send(chunk)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return lagging,
            }
            chunk = loop {
                tokio::select! {
                    next = source.next() => match next {
                        Next::Frame(text) => break event(&text, &mut self.last),
                        Next::End(code, reason) => return Some((code, reason)),
                    },
                    _ = ping.tick() => {
                        if let Some(end) = self.stay.ended().await {
                            return Some(end);
                        }
                        break ": ping\n\n".into();
                    }
                    known = self.stay.access.changed() => {
                        if let Some(end) = self.stay.after_change(known).await {
                            return Some(end);
                        }
                    }
                    () = stopping(&mut draining) => {
                        return Some((CloseReason::Shutdown.code(), CloseReason::Shutdown.reason()));
                    }
                    () = self.out.closed() => return None,
                }
            };
        }
    }
}

#[derive(Deserialize)]
struct Sent {
    message: Option<SentMessage>,
}

#[derive(Deserialize)]
struct SentMessage {
    id: i64,
}

/// A frame as an event. Its id is the highest message id so far: who comes back with it misses no message,
/// and parts of an answer that is not stored yet begin anew.
fn event(frame: &str, last: &mut Option<i64>) -> Bytes {
    // Most frames are parts, and need no second look.
    if frame.contains("\"message\":{")
        && let Ok(events) = serde_json::from_str::<Vec<Sent>>(frame)
    {
        let highest = events.into_iter().filter_map(|sent| sent.message).map(|message| message.id).max();
        *last = (*last).max(highest);
    }
    let mut text = String::with_capacity(frame.len() + 32);
    if let Some(id) = last {
        // Writing to a string does not fail.
        let _ = writeln!(text, "id: {id}");
    }
    // Line breaks between the tokens of JSON that a provider wrote: each line is one of the event.
    for line in frame.split(['\r', '\n']).filter(|line| !line.is_empty()) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_messages() {
        let mut last = Some(3);
        let mut said = |frame: &str| String::from_utf8(event(frame, &mut last).to_vec()).unwrap();
        let part = r#"[{"type":"message_part","message_part":{"part":{"text":"x"}}}]"#;
        assert_eq!(said(part), format!("id: 3\ndata: {part}\n\n"));
        let both = r#"[{"type":"message","message":{"id":9}},{"type":"message","message":{"id":7}},{"type":"status"}]"#;
        assert_eq!(said(both), format!("id: 9\ndata: {both}\n\n"));
        assert_eq!(said(part), format!("id: 9\ndata: {part}\n\n"));
        assert_eq!(said("[1,\r\n 2]"), "id: 9\ndata: [1,\ndata:  2]\n\n");
        assert_eq!(event("[]", &mut None), "data: []\n\n");
    }
}
