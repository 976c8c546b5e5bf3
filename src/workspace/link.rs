//! The links of agents that this replica holds. An agent dials in by WebSocket (`api/agent_link.rs`); over the
//! bytes of that the daemon speaks HTTP/2 as the client, so that each request to a workspace is plain HTTP.

use super::{
    elsewhere::{Replica, Replicas},
    pipe::Bytewise,
};
use crate::ids::{AgentId, WorkerId};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, Uri,
    client::conn::http2::{Builder, SendRequest},
    header::HeaderMap,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    collections::HashMap,
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, oneshot, watch};
use uuid::Uuid;

/// Body of a request to an agent.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// Body of an agent's answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, LinkError>;

/// A body of bytes that are all there.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Why an agent did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The link ended before there was an answer, or the request never got out.
    #[error("the link to the workspace's agent was lost: {0}")]
    Lost(#[from] hyper::Error),
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

#[derive(Default)]
struct Shared {
    held: Mutex<HashMap<AgentId, Held>>,
    /// Told of each link that is entered.
    entered: Notify,
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
    sender: watch::Receiver<Option<SendRequest<Body>>>,
}

impl Line {
    fn is_over(&self) -> bool {
        match &*self.sender.borrow() {
            Some(sender) => sender.is_closed(),
            None => self.sender.has_changed().is_err(),
        }
    }

    /// What requests are sent with; `None` when the link has ended.
    async fn sender(&self) -> Option<SendRequest<Body>> {
        if let Some(sender) = &*self.sender.borrow() {
            return Some(sender.clone());
        }
        self.wanted.notify_one();
        let mut sender = self.sender.clone();
        let there = sender.wait_for(Option::is_some).await.ok()?;
        there.clone()
    }
}

/// Speaks HTTP/2 over a pipe, from the first request on: the buffers of HTTP/2 are most of what a link costs, and most
/// links are idle.
pub struct Speaker {
    pipe: Bytewise,
    wanted: Arc<Notify>,
    sender: watch::Sender<Option<SendRequest<Body>>>,
}

/// What asks over a pipe, and what has to be run for it.
#[must_use]
pub fn line(pipe: Bytewise) -> (Line, Speaker) {
    let (sender, receiver) = watch::channel(None);
    let wanted = Arc::new(Notify::new());
    (Line { wanted: Arc::clone(&wanted), sender: receiver }, Speaker { pipe, wanted, sender })
}

impl Speaker {
    /// Runs until the pipe ends, or what comes out of it is no HTTP/2. A pipe that ends before anything was asked is
    /// for whoever carries it to notice.
    ///
    /// # Errors
    /// When the connection failed.
    pub async fn run(self) -> hyper::Result<()> {
        self.wanted.notified().await;
        // In a box: an idle link does not hold the room for it.
        Box::pin(async move {
            // Whether the other end lives is asked by the WebSocket's pings, once for both directions.
            let mut builder = Builder::new(TokioExecutor::new());
            let (sender, connection) =
                builder.timer(TokioTimer::new()).handshake(TokioIo::new(self.pipe)).await?;
            self.sender.send_replace(Some(sender));
            connection.await
        })
        .await
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
        body: Body,
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
        let mut request = Request::builder().method(method).uri(uri).body(body)?;
        request.headers_mut().extend(all);
        let mut sender = line.sender().await.ok_or(LinkError::NotSent)?;
        if sender.ready().await.is_err() {
            return Err(LinkError::NotSent);
        }
        let answer = match sender.send_request(request).await {
            // It was still waiting to be sent.
            Err(e) if e.is_canceled() => return Err(LinkError::NotSent),
            answer => answer?,
        };
        Ok(answer.map(|body| body.map_err(LinkError::Lost).boxed_unsync()))
    }
}
