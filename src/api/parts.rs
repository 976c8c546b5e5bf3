//! `GET /chats/{chat}/stream/parts` (api.md §4.7): the live parts of an attempt, for other replicas.

use super::{
    access::{self, Right},
    auth::Caller,
    doc::Doc,
    problem::{Problem, Result},
    sockets::{self, Next, Source, stopping},
    state::ApiState,
};
use crate::{
    actors::{
        relay::MEANT,
        replicas::ReplicaSecret,
        subscription::{CloseReason, PartsSubscription, Streams},
    },
    ids::ChatId,
    metrics,
    stream::{episode::EpisodeKey, relay::part_frame, schema::StreamEvent},
};
use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::{StatusCode, header},
    rt, web,
};
use bytestring::ByteString;
use std::{collections::VecDeque, future::ready, pin::Pin, sync::Arc};
use tokio::sync::watch;

/// Who reads parts: a user, or (`None`) another replica.
pub struct Reader(Option<Caller>);

impl Reader {
    /// Whether another replica asks.
    pub const fn is_replica(&self) -> bool {
        self.0.is_none()
    }
}

/// The bearer token of a request that claims to come from a replica.
fn claim(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && ReplicaSecret::is_claimed_by(token)).then_some(token)
}

impl FromRequest for Reader {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if let Some(claim) = claim(request) {
            let state = request.app_data::<web::Data<ApiState>>();
            let ours = state.and_then(|s| s.replica_secret.as_ref()).is_some_and(|s| s.matches(claim));
            let refused = || Problem::unauthorized("This is no replica of this deployment.");
            return Box::pin(ready(if ours { Ok(Self(None)) } else { Err(refused()) }));
        }
        let caller = Caller::from_request(request, payload);
        Box::pin(async move { Ok(Self(Some(caller.await?))) })
    }
}

/// What the OpenAPI document says of it.
pub const PARTS: Doc =
    Doc::new("Relay the parts of an attempt (WebSocket)").frames::<Vec<StreamEvent>>().errors(&[400, 404]);

/// Relays parts of a chat.
pub async fn parts(
    request: HttpRequest,
    state: web::Data<ApiState>,
    reader: Reader,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let chat = match &reader.0 {
        Some(caller) => access::only_id(&state, caller, &path, Right::Read).await?,
        None => {
            let chat = access::chat_id(&path)?;
            state.store.chat_owner(chat).await.map_err(Problem::of_chat)?;
            chat
        }
    };
    let is_replica = reader.0.is_none();
    if is_replica
        && let Some(meant) = request.headers().get(MEANT)
        && meant.as_bytes() != state.worker.to_string().as_bytes()
    {
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "This is another replica.")
            .detail("The address of a replica, server.relay_url, must lead to it and to no other."));
    }
    let (response, mut socket) = sockets::open(&request, payload, state.clone(), reader.0)?;
    if !is_replica {
        socket.only_while_readable(chat);
    }
    let source = Parts {
        streams: Arc::clone(&state.streams),
        draining: state.draining.clone(),
        chat,
        selected: None,
        waiting: VecDeque::new(),
    };
    rt::spawn(async move {
        let _counted = is_replica.then(Counted::new);
        socket.run(source).await;
    });
    Ok(response)
}

/// One in the gauge of relays served here.
struct Counted;

impl Counted {
    fn new() -> Self {
        ::metrics::gauge!(metrics::RELAY_CONNECTIONS).increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ::metrics::gauge!(metrics::RELAY_CONNECTIONS).decrement(1.0);
    }
}

struct Parts {
    streams: Arc<dyn Streams>,
    draining: watch::Receiver<bool>,
    chat: ChatId,
    selected: Option<PartsSubscription>,
    /// Taken from the queue and not sent yet; at most what one episode's buffer holds.
    waiting: VecDeque<ByteString>,
}

impl Source for Parts {
    async fn next(&mut self) -> Next {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Next::Frame(part_frame(&event));
            }
            let Some(selected) = &mut self.selected else {
                stopping(&mut self.draining).await;
                return CloseReason::Shutdown.into();
            };
            match selected.outgoing.recv().await {
                Some(parts) => self.waiting.extend(parts),
                None => return CloseReason::Lagging.into(),
            }
        }
    }

    fn take(&mut self, text: &str) -> Option<(u16, &'static str)> {
        let Ok(key) = serde_json::from_str::<EpisodeKey>(text) else {
            return Some((1008, "Expected history_version and generation_attempt"));
        };
        self.waiting.clear();
        self.selected = Some(self.streams.parts(self.chat, key));
        None
    }
}
