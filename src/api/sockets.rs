//! The half of a WebSocket that streams, sidebars and relays share (api.md §1.10): text frames, pings,
//! deadlines.

use super::{
    access::{self, Right},
    auth::Caller,
    frame_limit,
    problem::{Problem, Result},
    state::ApiState,
};
use crate::{actors::subscription::CloseReason, ids::ChatId};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, Message, MessageStream, Session};
use bytestring::ByteString;
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

/// Largest frame a client may send. It may send none that carries data, and this is what we read
/// before we know.
const MAX_INPUT_BYTES: usize = 64 * 1024;

/// What the source of a socket has for it.
#[derive(Debug)]
pub enum Next {
    /// A frame.
    Frame(ByteString),
    /// The end, with its code and reason.
    End(u16, &'static str),
}

impl From<CloseReason> for Next {
    fn from(reason: CloseReason) -> Self {
        Self::End(reason.code(), reason.reason())
    }
}

/// Where frames come from.
pub trait Source {
    /// The next thing to do. Dropped and called again whenever the socket has something else to do,
    /// so it must lose nothing when it is dropped while it waits.
    fn next(&mut self) -> impl Future<Output = Next>;

    /// A text frame of the client; the end, if it may not send that.
    fn take(&mut self, _text: &str) -> Option<(u16, &'static str)> {
        Some((1008, "This socket takes no data"))
    }
}

/// A socket whose handshake was answered.
pub struct Socket {
    session: Session,
    messages: MessageStream,
    state: web::Data<ApiState>,
    stay: Stay,
}

/// Answers the handshake. Without a caller it is another replica, whose socket ends with its source:
/// it follows turns that may go on while this replica stops.
///
/// # Errors
/// 400 when the request is no handshake, 503 when this replica is about to stop.
pub fn open(
    request: &HttpRequest,
    payload: web::Payload,
    state: web::Data<ApiState>,
    caller: impl Into<Option<Caller>>,
) -> Result<(HttpResponse, Socket)> {
    let caller = caller.into();
    if state.is_draining() {
        return Err(Problem::unavailable("This replica is shutting down.", "draining"));
    }
    let stay = Stay::new(state.clone(), caller);
    let payload = frame_limit::limited(request, payload, MAX_INPUT_BYTES as u64);
    let (response, session, messages) = actix_ws::handle(request, payload)
        .map_err(|e| Problem::bad_request("A WebSocket handshake is expected here.").detail(e.to_string()))?;
    let messages = messages.max_frame_size(MAX_INPUT_BYTES);
    Ok((response, Socket { session, messages, state, stay }))
}

/// Why a socket ends. `None`: the other side is gone, there is nobody to tell.
type End = Option<(u16, &'static str)>;

impl Socket {
    /// The socket ends when the caller may no longer read this chat.
    pub fn only_while_readable(&mut self, chat: ChatId) {
        self.stay.readable = Some(chat);
    }

    /// Forwards frames until one of the sides ends it.
    pub async fn run(mut self, mut source: impl Source) {
        let end = self.forward(&mut source).await;
        if let Some((code, reason)) = end {
            let reason =
                actix_ws::CloseReason { code: CloseCode::from(code), description: Some(reason.into()) };
            // A socket that does not drain would keep even the close frame waiting.
            if timeout(self.state.settings.write_timeout, self.session.close(Some(reason))).await.is_err() {
                tracing::debug!("the close frame did not get through");
            }
        }
    }

    async fn forward(&mut self, source: &mut impl Source) -> End {
        let period = self.state.settings.ping_interval;
        let deadline = self.state.settings.write_timeout;
        let mut ping = interval_at(Instant::now() + period, period);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unanswered = false;
        let mut draining = self.state.draining.clone();
        loop {
            tokio::select! {
                message = self.messages.recv() => match message {
                    None | Some(Ok(Message::Close(_))) => return Some((1000, "")),
                    Some(Ok(Message::Pong(_))) => unanswered = false,
                    Some(Ok(Message::Nop)) => {}
                    Some(Ok(Message::Ping(bytes))) => {
                        sent(deadline, self.session.pong(&bytes)).await?;
                    }
                    Some(Ok(Message::Text(text))) => {
                        if let Some(end) = source.take(&text) {
                            return Some(end);
                        }
                    }
                    Some(Ok(Message::Binary(_) | Message::Continuation(_))) => {
                        return Some((1008, "This socket takes no data"));
                    }
                    Some(Err(e)) if frame_limit::is_over(&e) => return Some((1009, "Frame too large")),
                    Some(Err(_)) => return Some((1002, "Protocol error")),
                },
                next = source.next() => match next {
                    Next::Frame(text) => match timeout(deadline, self.session.text(text)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return None,
                        Err(_) => return Some((CloseReason::Lagging.code(), CloseReason::Lagging.reason())),
                    },
                    Next::End(code, reason) => return Some((code, reason)),
                },
                _ = ping.tick() => {
                    if unanswered {
                        return Some((1001, "Ping failed"));
                    }
                    unanswered = true;
                    if let Some(end) = self.stay.ended().await {
                        return Some(end);
                    }
                    sent(deadline, self.session.ping(b"")).await?;
                }
                known = self.stay.access.changed() => {
                    if let Some(end) = self.stay.after_change(known).await {
                        return Some(end);
                    }
                }
                () = stopping(&mut draining), if self.stay.caller.is_some() => {
                    return Some((CloseReason::Shutdown.code(), CloseReason::Shutdown.reason()));
                }
            }
        }
    }
}

/// Whether the caller of an open stream may stay.
pub(super) struct Stay {
    state: web::Data<ApiState>,
    /// `None` for another replica.
    caller: Option<Caller>,
    /// Moves with everybody's rights.
    pub(super) access: watch::Receiver<u64>,
    /// A chat that the caller must be allowed to read for as long as the stream is open.
    pub(super) readable: Option<ChatId>,
}

impl Stay {
    pub(super) fn new(state: web::Data<ApiState>, caller: Option<Caller>) -> Self {
        let access = state.notices.access();
        Self { state, caller, access, readable: None }
    }

    /// Somebody's rights have changed, or nobody knows any more: why the caller may not stay, if so.
    pub(super) async fn after_change(
        &self,
        known: Result<(), watch::error::RecvError>,
    ) -> Option<(u16, &'static str)> {
        let gone = known.is_err() || self.ended().await.is_some();
        gone.then(|| (CloseReason::Unauthorized.code(), CloseReason::Unauthorized.reason()))
    }

    /// Why the caller may not stay, if so. A store that does not answer takes nobody's right away.
    pub(super) async fn ended(&self) -> Option<(u16, &'static str)> {
        let caller = self.caller.as_ref()?;
        let mut allowed = caller.recheck(&self.state).await;
        if let (Ok(()), Some(chat)) = (&allowed, self.readable) {
            allowed = access::only_id(&self.state, caller, &chat.to_string(), Right::Read).await.map(|_| ());
        }
        match allowed {
            Err(problem) if problem.status().is_client_error() => {
                Some((CloseReason::Unauthorized.code(), CloseReason::Unauthorized.reason()))
            }
            _ => None,
        }
    }
}

/// `None` when the message did not get out in time or at all: there is nobody to tell.
async fn sent<E>(deadline: Duration, sending: impl Future<Output = Result<(), E>>) -> Option<()> {
    timeout(deadline, sending).await.ok()?.ok()
}

/// Resolves when this replica stops.
pub async fn stopping(draining: &mut watch::Receiver<bool>) {
    if draining.wait_for(|stops| *stops).await.is_err() {
        // Whoever could say it is gone without having said it.
        std::future::pending::<()>().await;
    }
}
