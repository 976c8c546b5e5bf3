//! `GET /workspaceagents/me/link`: where agents dial in. Binary messages are the bytes of an HTTP/2 connection
//! whose server is the agent.

use super::{
    doc::{Doc, Param, ParamKind, Reply},
    frame_limit,
    problem::{Problem, Result},
    query::Query,
    sockets::stopping,
    state::ApiState,
};
use crate::{
    ids::{AgentId, fresh_uuid},
    store::{self, records::workspaces::AgentFacts},
    workspace::{
        link::{self, Entered},
        pipe::{Inlet, Outlet, pipe},
        status::BEAT,
        text::prefix,
        token,
    },
};
use actix_web::{HttpRequest, HttpResponse, http::header, rt, web};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, Session};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

/// How often an agent is asked whether it is there.
const PING: Duration = Duration::from_secs(5);
/// An agent that says nothing for so long, not even pong, is gone: three pings. A half-open link is found within
/// 20 s.
const SILENCE: Duration = Duration::from_secs(16);
/// How long a message may wait for a socket that does not drain.
const WRITE_TIMEOUT: Duration = Duration::from_secs(16);
/// How long what an agent says may wait to be taken. Who was asked is read from all the time: one that waits was not.
const TAKEN_WITHIN: Duration = Duration::from_secs(16);
/// Largest message of an agent. It sends pieces of 64 KiB.
const MAX_MESSAGE: usize = 1 << 20;
/// Longest text an agent tells of itself, in bytes.
const MAX_FACT: usize = 1024;

/// What the OpenAPI document says of it.
pub const LINK: Doc = Doc::new(
    "Link an agent (WebSocket); its token is the bearer. Binary messages are the bytes of an HTTP/2 connection \
     with the agent as its server",
)
.answers(Reply::Nothing)
.params(&[
    Param::query("name", ParamKind::Text, "Name given on the agent's command line"),
    Param::query("version", ParamKind::Text, "Version of the agent"),
    Param::query("os", ParamKind::Text, "Its operating system"),
    Param::query("arch", ParamKind::Text, "Its processor"),
    Param::query("directory", ParamKind::Text, "Its folder"),
])
.errors(&[400, 401, 404])
.open();

fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Takes a link on.
pub async fn link(
    request: HttpRequest,
    state: web::Data<ApiState>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    if state.is_draining() {
        return Err(Problem::unavailable("This replica is shutting down.", "draining"));
    }
    let refused = || {
        Problem::unauthorized("This is no token of an agent, or its workspace was built anew since.")
            .detail("Take the token of the newest build.")
    };
    let hash = token::hash(bearer(&request).ok_or_else(refused)?);
    let agent = match state.store.agent_by_token(hash.clone()).await {
        Ok(agent) => agent.id,
        Err(store::Error::NotFound) => return Err(refused()),
        Err(e) => return Err(e.into()),
    };
    let facts = facts(&Query::parse(request.query_string())?);
    let payload = frame_limit::limited(&request, payload, MAX_MESSAGE as u64);
    let (response, session, messages) = actix_ws::handle(&request, payload)
        .map_err(|e| Problem::bad_request("A WebSocket handshake is expected here.").detail(e.to_string()))?;
    let messages = messages.max_frame_size(MAX_MESSAGE);
    rt::spawn(hold(state, (agent, hash), facts, session, messages));
    Ok(response)
}

fn facts(query: &Query) -> AgentFacts {
    let fact = |key: &str| prefix(query.get(key).unwrap_or_default(), MAX_FACT).replace('\0', "");
    AgentFacts {
        operating_system: fact("os"),
        architecture: fact("arch"),
        version: fact("version"),
        directory: fact("directory"),
    }
}

/// Why a link ends: close code and reason. `None`: the other side is gone, there is nobody to tell.
type End = Option<(u16, &'static str)>;

async fn hold(
    state: web::Data<ApiState>,
    (agent, hash): (AgentId, Vec<u8>),
    facts: AgentFacts,
    session: Session,
    messages: MessageStream,
) {
    let link = fresh_uuid();
    let (near, from, into) = pipe();
    let (line, speaker) = link::line(near);
    let entered = state.dialer.links.enter(agent, link, line);
    let now = state.clock.now();
    let end = match state.store.agent_connected(agent, state.worker, link, hash, facts, now).await {
        Ok(_) => {
            tracing::debug!(%agent, "an agent has linked");
            let spoken = async {
                let _ = speaker.run().await;
                Some((1002, "The connection inside of the link ended"))
            };
            let end = tokio::select! {
                // A link that was replaced ends inside as well: this reason is the true one.
                biased;
                end = others(&state, entered) => end,
                end = spoken => end,
                end = outwards(session.clone(), from) => end,
                end = inwards(agent, session.clone(), messages, into) => end,
                end = beat(&state, agent, link) => end,
            };
            gone(&state, agent, link).await;
            end
        }
        Err(store::Error::Stale) => Some((4001, "The agent has a new token")),
        Err(e) => {
            tracing::warn!(%agent, error = %e, "the link of an agent could not be written down");
            Some((1013, "Storage unavailable, dial again"))
        }
    };
    tracing::debug!(%agent, ?end, "the link of an agent has ended");
    if let Some((code, reason)) = end {
        let reason = CloseReason { code: CloseCode::from(code), description: Some(reason.into()) };
        // A socket that does not drain would keep even the close frame waiting.
        let _ = timeout(state.settings.write_timeout, session.close(Some(reason))).await;
    }
}

/// Writes down that a link has ended. When that fails, its silence will tell.
async fn gone(state: &ApiState, agent: AgentId, link: Uuid) {
    if let Err(e) = state.store.agent_disconnected(agent, link, state.clock.now()).await {
        tracing::warn!(%agent, error = %e, "the end of an agent's link could not be written down");
    }
}

/// Until another link takes this one's place, or the replica stops.
async fn others(state: &ApiState, mut entered: Entered) -> End {
    let mut draining = state.draining.clone();
    tokio::select! {
        _ = &mut entered.replaced => {
            Some((4001, "Another link of this agent has taken the place of this one, or it has a new token"))
        }
        () = stopping(&mut draining) => Some((1001, "This replica is shutting down, dial again")),
    }
}

/// Writes down every now and then that the link lives, until it is no longer wanted.
async fn beat(state: &ApiState, agent: AgentId, link: Uuid) -> End {
    let mut tick = interval(BEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        match state.store.agent_beat(agent, link, state.clock.now()).await {
            Ok(true) => {}
            Ok(false) => {
                return Some((4001, "The workspace was built anew, or the agent has linked elsewhere"));
            }
            Err(e) => tracing::warn!(%agent, error = %e, "the beat of an agent's link was not written down"),
        }
    }
}

/// Carries what is said to the agent, until one side ends.
async fn outwards(mut session: Session, from: Outlet) -> End {
    let mut ping = interval(PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sending = tokio::select! {
            piece = from.next() => match piece {
                Some(bytes) => timeout(WRITE_TIMEOUT, session.binary(bytes)).await,
                None => return Some((1002, "The connection inside of the link ended")),
            },
            _ = ping.tick() => timeout(WRITE_TIMEOUT, session.ping(b"")).await,
        };
        if !matches!(sending, Ok(Ok(()))) {
            return None;
        }
    }
}

/// Carries what the agent says, until one side ends.
async fn inwards(agent: AgentId, mut session: Session, mut messages: MessageStream, into: Inlet) -> End {
    loop {
        let Ok(message) = timeout(SILENCE, messages.recv()).await else {
            return Some((1001, "Ping failed"));
        };
        let bytes: Bytes = match message {
            None | Some(Ok(Message::Close(_))) => return Some((1000, "")),
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Ping(bytes))) => match timeout(WRITE_TIMEOUT, session.pong(&bytes)).await {
                Ok(Ok(())) => continue,
                _ => return None,
            },
            Some(Ok(Message::Pong(_) | Message::Nop)) => continue,
            Some(Ok(Message::Text(_) | Message::Continuation(_))) => {
                return Some((1008, "This socket takes whole binary messages only"));
            }
            Some(Err(e)) if frame_limit::is_over(&e) => return Some((1009, "Message too large")),
            Some(Err(_)) => return Some((1002, "Protocol error")),
        };
        match timeout(TAKEN_WITHIN, into.give(bytes)).await {
            Ok(true) => {}
            Ok(false) => return Some((1002, "The connection inside of the link ended")),
            Err(_) => {
                tracing::warn!(%agent, "an agent sends what nobody has asked it for; its link is closed");
                return Some((1008, "Nobody takes what was sent: an agent speaks when it is asked"));
            }
        }
    }
}
