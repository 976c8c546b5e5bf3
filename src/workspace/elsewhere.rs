//! Agents whose link another replica holds: that replica passes requests on (`api/agent_relay.rs`).

use super::link::{AnswerBody, Body, LinkError};
use crate::{
    ids::{AgentId, WorkerId},
    store,
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{HeaderMap, Method, Response, body::Frame};
use std::{fmt, sync::Arc};

/// Of a request that is passed on: its method, a space, its path and query.
pub const TARGET: &str = "x-chatd-relay-target";
/// On an answer that is not the agent's: the link ended before there was one, or is not there.
pub const LINK: &str = "x-chatd-link";
/// Value of [`LINK`]: the agent may have had the request.
pub const LOST: &str = "lost";
/// Value of [`LINK`]: it had not.
pub const NOT_SENT: &str = "not-sent";

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
}

impl Replica {
    /// Sends a request to an agent by way of this replica.
    ///
    /// # Errors
    /// When there is no answer of the agent.
    pub async fn request(
        &self,
        agent: AgentId,
        method: &Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response<AnswerBody>, LinkError> {
        // The address may hold a password.
        let lost = |e: reqwest::Error| match e.is_connect() {
            true => LinkError::NotSent,
            false => LinkError::LostElsewhere(e.without_url().to_string()),
        };
        let url = format!("{}{}", self.url.trim_end_matches('/'), path(agent));
        let body = body.collect().await.map_err(|e| LinkError::LostElsewhere(e.to_string()))?.to_bytes();
        let request =
            self.client.post(url).headers(headers).header(TARGET, format!("{method} {path_and_query}"));
        let answer = request.bearer_auth(&self.credential).body(body).send().await.map_err(lost)?;
        match answer.headers().get(LINK) {
            Some(value) if value == NOT_SENT => return Err(LinkError::NotSent),
            Some(_) => return Err(LinkError::LostElsewhere("it ended before there was an answer".into())),
            None => {}
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        let pieces = answer.bytes_stream().map_ok(|piece: Bytes| Frame::data(piece)).map_err(lost);
        let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}
