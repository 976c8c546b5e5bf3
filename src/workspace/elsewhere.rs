//! Agents whose link another replica holds: that replica passes requests on (`api/agent_relay.rs`).

use super::link::{AnswerBody, LinkError};
use crate::{
    ids::{AgentId, WorkerId},
    store,
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{HeaderMap, Method, Response, StatusCode, body::Frame, header::HeaderValue};
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::sleep;

/// Of a request that is passed on: its method, a space, its path and query.
pub const TARGET: &str = "x-chatd-relay-target";
/// On each answer: whose it is. What comes without it is of something else that was found at the replica's address.
pub const LINK: &str = "x-chatd-link";
/// Value of [`LINK`]: the agent's.
pub const ANSWERED: &str = "answered";
/// Value of [`LINK`]: the replica's. The link ended before there was an answer; the agent may have had the request.
pub const LOST: &str = "lost";
/// Value of [`LINK`]: the replica's. The link is not there, or had ended; the agent has not had the request.
pub const NOT_SENT: &str = "not-sent";

/// How often it is looked whether a replica that has not answered yet still has the link. One whose host is gone, or stands
/// still, says nothing, and the agent links to another one meanwhile.
const LOOK: Duration = Duration::from_secs(2);

/// Where a replica passes requests for an agent on.
#[must_use]
pub fn path(agent: AgentId) -> String {
    format!("/api/v2/workspaceagents/{agent}/relay")
}

/// A replica that holds links.
#[derive(Clone)]
pub struct Replica {
    /// Which one.
    pub worker: WorkerId,
    /// How it is reached. May hold a password.
    pub url: Arc<str>,
    /// What it knows replicas by. Not to be logged.
    pub credential: String,
    /// For requests to replicas.
    pub client: reqwest::Client,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("worker", &self.worker).finish_non_exhaustive()
    }
}

/// Knows the other replicas.
#[async_trait::async_trait]
pub trait Replicas: Send + Sync {
    /// This one.
    fn own(&self) -> WorkerId;

    /// Another one; `None` when it has left.
    ///
    /// # Errors
    /// When the database cannot be had.
    async fn replica(&self, worker: WorkerId) -> store::Result<Option<Replica>>;

    /// Whether a replica still has the link of an agent, and writes down that it lives.
    ///
    /// # Errors
    /// When the database cannot be had.
    async fn holds(&self, worker: WorkerId, agent: AgentId) -> store::Result<bool>;
}

/// Ends when a replica does not have the link of an agent any more.
async fn moved(replicas: &dyn Replicas, worker: WorkerId, agent: AgentId) {
    loop {
        sleep(LOOK).await;
        match replicas.holds(worker, agent).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(e) => {
                tracing::warn!(%agent, error = %e, "it cannot be told which replica has an agent's link");
            }
        }
    }
}

impl Replica {
    /// Sends a request to an agent by way of this replica.
    ///
    /// # Errors
    /// When there is no answer of the agent.
    pub async fn request(
        &self,
        replicas: &dyn Replicas,
        agent: AgentId,
        method: &Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<AnswerBody>, LinkError> {
        let url = format!("{}{}", self.url.trim_end_matches('/'), path(agent));
        let request = self.client.post(url).headers(headers).bearer_auth(&self.credential).body(body);
        let request = request.header(TARGET, format!("{method} {path_and_query}"));
        let answer = tokio::select! {
            answer = request.send() => answer.map_err(lost)?,
            () = moved(replicas, self.worker, agent) => {
                return Err(LinkError::LostElsewhere("the replica does not answer, and has it no longer".into()));
            }
        };
        let status = answer.status();
        match answer.headers().get(LINK).map(HeaderValue::as_bytes) {
            Some(value) if value == ANSWERED.as_bytes() => {}
            Some(value) if value == NOT_SENT.as_bytes() => return Err(LinkError::NotSent),
            Some(_) => return Err(LinkError::LostElsewhere("it ended before there was an answer".into())),
            // Whoever says so, the request is too large, and would be so again.
            None if status == StatusCode::PAYLOAD_TOO_LARGE => {}
            // A proxy may have passed it on all the same.
            None => {
                return Err(LinkError::LostElsewhere(format!(
                    "at its address something else answers, with status {status}"
                )));
            }
        }
        let headers = answer.headers().clone();
        let pieces = answer.bytes_stream().map_ok(|piece: Bytes| Frame::data(piece)).map_err(lost);
        let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

fn lost(e: reqwest::Error) -> LinkError {
    let connecting = e.is_connect();
    // The address may hold a password.
    let why = e.without_url().to_string();
    if connecting { LinkError::NotSentElsewhere(why) } else { LinkError::LostElsewhere(why) }
}
