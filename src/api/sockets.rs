//! The half of a WebSocket that streams and sidebars share (api.md §1.10): one way, text frames,
//! pings, deadlines.

use super::{
    auth::Caller,
    problem::{Problem, Result},
    state::ApiState,
};
use crate::actors::subscription::CloseReason;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, Message, MessageStream, ProtocolError, Session};
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
}

/// A socket whose handshake was answered.
pub struct Socket {
    session: Session,
    messages: MessageStream,
    state: web::Data<ApiState>,
    caller: Caller,
    access: watch::Receiver<u64>,
}

/// Answers the handshake.
///
/// # Errors
/// 400 when the request is no handshake, 503 when this replica is about to stop.
pub fn open(
    request: &HttpRequest,
    payload: web::Payload,
    state: web::Data<ApiState>,
    caller: Caller,
) -> Result<(HttpResponse, Socket)> {
    if state.is_draining() {
        return Err(Problem::unavailable("This replica is shutting down.", "draining"));
    }
    let access = state.notices.access();
    let (response, session, messages) = actix_ws::handle(request, payload)
        .map_err(|e| Problem::bad_request("A WebSocket handshake is expected here.").detail(e.to_string()))?;
    let messages = messages.max_frame_size(MAX_INPUT_BYTES);
    Ok((response, Socket { session, messages, state, caller, access }))
}

/// Why a socket ends. `None`: the other side is gone, there is nobody to tell.
type End = Option<(u16, &'static str)>;

impl Socket {
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
                    Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Continuation(_))) => {
                        return Some((1008, "This socket takes no data"));
                    }
                    Some(Err(ProtocolError::Overflow)) => return Some((1009, "Frame too large")),
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
                    if let Some(end) = self.access_end().await {
                        return Some(end);
                    }
                    sent(deadline, self.session.ping(b"")).await?;
                }
                changed = self.access.changed() => {
                    if changed.is_err() || self.access_end().await.is_some() {
                        return Some((CloseReason::Unauthorized.code(), CloseReason::Unauthorized.reason()));
                    }
                }
                () = stopping(&mut draining) => {
                    return Some((CloseReason::Shutdown.code(), CloseReason::Shutdown.reason()));
                }
            }
        }
    }

    /// Why the caller may not stay, if so. A store that does not answer takes nobody's right away.
    async fn access_end(&self) -> Option<(u16, &'static str)> {
        match self.caller.recheck(&self.state).await {
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
