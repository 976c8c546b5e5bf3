//! The links of agents that this replica holds. An agent dials in by WebSocket (`api/agent_link.rs`); over the
//! bytes of that the daemon speaks HTTP/2 as the client, so that each request to a workspace is plain HTTP.

use super::{
    body::Received,
    elsewhere::{Replica, Replicas},
    socket::{Lost, Socket},
};
use crate::ids::{AgentId, WorkerId};
use bytes::Bytes;
use h2::{
    Reason,
    client::{Builder, SendRequest},
};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper::{Method, Request, Response, Uri, header::HeaderMap};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, oneshot, watch},
};
use uuid::Uuid;

/// Most bytes of an answer, and of all answers of an agent, that may be on their way and not taken yet.
const WINDOWS: (u32, u32) = (2 << 20, 5 << 20);
/// Most bytes of the headers of an answer.
const MAX_HEADERS: u32 = 16 << 10;
/// Requests at once, as long as the agent has not said how many it takes.
const FIRST_REQUESTS: usize = 100;

/// Body of an agent's answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, LinkError>;

/// Why an agent did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The link ended before there was an answer, or the request never got out.
    #[error("the link to the workspace's agent was lost: {0}")]
    Lost(#[from] h2::Error),
    /// The link ended before anything of the request was sent.
    #[error("the link to the workspace's agent was lost")]
    NotSent,
    /// The replica that holds the link is not to be reached.
    #[error("the link to the workspace's agent is at another replica, which cannot be reached: {0}")]
    NotSentElsewhere(String),
    /// The same as [`Self::Lost`] of a link that another replica holds, or of the way to that replica.
    #[error("the link to the workspace's agent, at another replica, was lost: {0}")]
    LostElsewhere(String),
    /// The path or a header has characters that HTTP does not take.
    #[error("the request to the workspace's agent has another form than HTTP takes: {0}")]
    Malformed(#[from] hyper::http::Error),
}

/// The links that this replica holds. Clones are the same.
#[derive(Clone, Default)]
pub struct Links(Arc<Shared>);

struct Shared {
    held: Mutex<HashMap<AgentId, Held>>,
    /// Told of each link that is entered.
    entered: Notify,
    since: Instant,
}

impl Default for Shared {
    fn default() -> Self {
        Self { held: Mutex::default(), entered: Notify::new(), since: Instant::now() }
    }
}

struct Held {
    link: Uuid,
    /// Dropped when another link takes its place, or it has to end.
    _replaced: oneshot::Sender<()>,
    line: Line,
}

/// Asks through a link. Clones ask through the same.
#[derive(Clone)]
pub struct Line {
    wanted: Arc<Notify>,
    /// Filled by the [`Speaker`], which is gone when this is closed.
    sender: watch::Receiver<Option<SendRequest<Bytes>>>,
}

impl Line {
    fn is_over(&self) -> bool {
        self.sender.has_changed().is_err()
    }

    /// What requests are sent with; `None` when the link has ended.
    async fn sender(&self) -> Option<SendRequest<Bytes>> {
        if let Some(sender) = &*self.sender.borrow() {
            return Some(sender.clone());
        }
        self.wanted.notify_one();
        let mut sender = self.sender.clone();
        let there = sender.wait_for(Option::is_some).await.ok()?;
        there.clone()
    }
}

/// Speaks HTTP/2 over a link, from the first request on: the buffers of HTTP/2 are most of what a link costs, and most
/// links are idle.
pub struct Speaker<S> {
    socket: Socket<S>,
    wanted: Arc<Notify>,
    sender: watch::Sender<Option<SendRequest<Bytes>>>,
}

/// What asks over a link, and what has to be run for it.
#[must_use]
pub fn line<S>(socket: Socket<S>) -> (Line, Speaker<S>) {
    let (sender, receiver) = watch::channel(None);
    let wanted = Arc::new(Notify::new());
    (Line { wanted: Arc::clone(&wanted), sender: receiver }, Speaker { socket, wanted, sender })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Speaker<S> {
    /// Runs until the link is lost, or what comes out of it is no HTTP/2.
    pub async fn run(self) -> Lost {
        tokio::select! {
            lost = self.socket.idle() => return lost,
            () = self.wanted.notified() => {}
        }
        // In a box: an idle link does not hold the room for it.
        let spoken = Box::pin(async {
            let mut builder = Builder::new();
            builder
                .enable_push(false)
                .initial_window_size(WINDOWS.0)
                .initial_connection_window_size(WINDOWS.1)
                .max_header_list_size(MAX_HEADERS)
                .initial_max_send_streams(FIRST_REQUESTS);
            let (sender, connection) = builder.handshake::<_, Bytes>(self.socket.clone()).await?;
            self.sender.send_replace(Some(sender));
            connection.await
        });
        if let Err(error) = spoken.await {
            tracing::debug!(%error, "the connection inside of a link failed");
        }
        self.socket.lost()
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("held", &self.lock().len()).finish()
    }
}

/// A link that is held until this is dropped.
pub struct Entered {
    links: Links,
    agent: AgentId,
    link: Uuid,
    /// Ends when another link of the agent has taken this one's place, or its time is over.
    pub replaced: oneshot::Receiver<()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut held = self.links.lock();
        // A newer link of the same agent stays.
        if held.get(&self.agent).is_some_and(|h| h.link == self.link) {
            held.remove(&self.agent);
        }
    }
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, HashMap<AgentId, Held>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a link, in place of an earlier one of the agent.
    #[must_use]
    pub fn enter(&self, agent: AgentId, link: Uuid, line: Line) -> Entered {
        let (replaced_sender, replaced) = oneshot::channel();
        self.lock().insert(agent, Held { link, _replaced: replaced_sender, line });
        self.0.entered.notify_waiters();
        Entered { links: self.clone(), agent, link, replaced }
    }

    /// Ends the link of an agent, if it is here.
    pub fn end(&self, agent: AgentId) {
        self.lock().remove(&agent);
    }

    /// The way to an agent, if its link is here.
    #[must_use]
    pub fn client(&self, agent: AgentId) -> Option<AgentClient> {
        let line = self.lock().get(&agent)?.line.clone();
        (!line.is_over()).then(|| AgentClient { agent, way: Way::Link(line), headers: HeaderMap::new() })
    }

    /// The way to an agent, as soon as its link is here. Agents dial the daemon, so to dial one is to wait.
    pub async fn wait_for(&self, agent: AgentId) -> AgentClient {
        loop {
            let mut entered = std::pin::pin!(self.0.entered.notified());
            // Before the look, so that a link between the two is not missed.
            entered.as_mut().enable();
            if let Some(client) = self.client(agent) {
                return client;
            }
            entered.await;
        }
    }

    /// For how long agents could have linked here by now.
    #[must_use]
    pub fn open_for(&self) -> Duration {
        self.0.since.elapsed()
    }

    /// How many links there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The way to one agent. Clones share the link; each has headers of its own.
#[derive(Clone)]
pub struct AgentClient {
    agent: AgentId,
    way: Way,
    headers: HeaderMap,
}

#[derive(Clone)]
enum Way {
    /// The link is here.
    Link(Line),
    /// Another replica has it.
    Replica(Replica, Arc<dyn Replicas>),
}

impl fmt::Debug for AgentClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentClient").field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl AgentClient {
    /// Whose link it is.
    #[must_use]
    pub const fn agent(&self) -> AgentId {
        self.agent
    }

    /// To an agent whose link another replica has.
    #[must_use]
    pub fn elsewhere(agent: AgentId, replica: Replica, replicas: Arc<dyn Replicas>) -> Self {
        Self { agent, way: Way::Replica(replica, replicas), headers: HeaderMap::new() }
    }

    /// Whether it cannot lead there any more. `holder`: the replica that has the agent's link, by the agent's row.
    #[must_use]
    pub fn is_over(&self, holder: Option<WorkerId>) -> bool {
        match &self.way {
            Way::Link(line) => line.is_over(),
            Way::Replica(replica, _) => holder != Some(replica.worker),
        }
    }

    /// The same with headers that every request carries, such as those that name the chat.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Sends a request; the answer's body comes as a stream. How long it may take is the caller's to say.
    /// `headers` come before those of [`Self::with_headers`].
    ///
    /// # Errors
    /// When there is no answer. One with an error status is an answer.
    pub async fn request(
        &self,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<AnswerBody>, LinkError> {
        let mut all = self.headers.clone();
        all.extend(headers);
        let line = match &self.way {
            Way::Link(line) => line,
            Way::Replica(replica, replicas) => {
                let replicas = replicas.as_ref();
                return replica.request(replicas, self.agent, &method, path_and_query, all, body).await;
            }
        };
        // The authority says nothing: there is one agent at the other end.
        let uri = Uri::builder()
            .scheme("http")
            .authority("agent")
            .path_and_query(path_and_query)
            .build()
            .map_err(LinkError::Malformed)?;
        let mut request = Request::builder().method(method).uri(uri).body(())?;
        *request.headers_mut() = all;
        let sender = line.sender().await.ok_or(LinkError::NotSent)?;
        // Where the agent has as many requests as it takes, this one waits behind it, and counts as sent.
        let mut sender = sender.ready().await.map_err(|_| LinkError::NotSent)?;
        let bare = body.is_empty();
        let (answer, mut rest) = sender.send_request(request, bare).map_err(|_| LinkError::NotSent)?;
        if !bare {
            // It is all there, so it may wait there as well as here.
            rest.send_data(body, true)?;
        }
        let answer = answer.await.map_err(|e| match e.reason() {
            // Which the agent says of what it has not begun with (RFC 9113, 8.7).
            Some(Reason::REFUSED_STREAM) => LinkError::NotSent,
            _ => LinkError::Lost(e),
        })?;
        let (head, stream) = answer.into_parts();
        let body = Received::answer(stream, &head.headers);
        Ok(Response::from_parts(head, body.map_err(LinkError::Lost).boxed_unsync()))
    }
}
