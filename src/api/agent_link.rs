//! `GET /workspaceagents/me/link`: where agents dial in. Binary messages are the bytes of an HTTP/2 connection
//! whose server is the agent.

use super::{
    doc::{Doc, Param, ParamKind, Reply},
    problem::{Problem, Result},
    query::Query,
    sockets::stopping,
    state::ApiState,
    upgraded::{Upgraded, upgraded},
};
use crate::{
    ids::{AgentId, fresh_uuid},
    store::{self, records::workspaces::AgentFacts},
    workspace::{
        link::{self, Entered},
        socket::{Lost, Socket},
        status::BEAT,
        text::prefix,
        token,
    },
};
use actix_web::{HttpRequest, HttpResponse, body::MessageBody as _, http::header, rt, web};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::{self, protocol::Role};
use uuid::Uuid;

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
    if *state.settled.borrow() {
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
    let mut response = actix_http::ws::handshake(request.head())
        .map_err(|e| Problem::bad_request("A WebSocket handshake is expected here.").detail(e.to_string()))?;
    let (connection, outgoing) = upgraded(payload);
    rt::spawn(hold(state, (agent, hash), facts, connection));
    Ok(response.message_body(outgoing.boxed()).map_err(Problem::internal)?.into())
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
    connection: Upgraded,
) {
    let link = fresh_uuid();
    let socket = Socket::new(connection, Role::Server).await;
    let (line, speaker) = link::line(socket.clone());
    let entered = state.dialer.links.enter(agent, link, line);
    let now = state.clock.now();
    let end = match state.store.agent_connected(agent, state.worker, link, hash, facts, now).await {
        Ok(_) => {
            tracing::debug!(%agent, "an agent has linked");
            let end = tokio::select! {
                // A link that was replaced ends inside as well: this reason is the true one.
                biased;
                end = others(&state, entered) => end,
                lost = speaker.run() => closing(agent, &lost),
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
        // A socket that does not drain would keep even the close frame waiting.
        let told = timeout(state.settings.write_timeout, socket.close(code, reason)).await;
        if let Ok(Err(error)) = told {
            tracing::debug!(%agent, %error, "the end of a link could not be told");
        }
    }
}

/// What a link that is lost is closed with.
fn closing(agent: AgentId, lost: &Lost) -> End {
    match lost {
        Lost::Closed(_) => Some((1000, "")),
        Lost::Silent => Some((1001, "Ping failed")),
        Lost::Text => Some((1008, "This socket takes binary messages only")),
        Lost::Unasked => {
            tracing::warn!(%agent, "an agent sends what nobody has asked it for; its link is closed");
            Some((1008, "Nobody takes what was sent: an agent speaks when it is asked"))
        }
        Lost::Socket(tungstenite::Error::Capacity(_)) => Some((1009, "Message too large")),
        Lost::Socket(tungstenite::Error::Protocol(_)) => Some((1002, "Protocol error")),
        Lost::Socket(_) => None,
        Lost::Inner => Some((1002, "The connection inside of the link ended")),
    }
}

/// Writes down that a link has ended. When that fails, its silence will tell.
async fn gone(state: &ApiState, agent: AgentId, link: Uuid) {
    if let Err(e) = state.store.agent_disconnected(agent, link, state.clock.now()).await {
        tracing::warn!(%agent, error = %e, "the end of an agent's link could not be written down");
    }
}

/// Until another link takes this one's place, or the replica has stopped all that needs it.
async fn others(state: &ApiState, mut entered: Entered) -> End {
    let mut settled = state.settled.clone();
    tokio::select! {
        _ = &mut entered.replaced => {
            Some((4001, "Another link of this agent has taken the place of this one, or it has a new token"))
        }
        () = stopping(&mut settled) => Some((1001, "This replica is shutting down, dial again")),
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
