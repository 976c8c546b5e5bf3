//! The agent in a workspace: its endpoints over HTTP/2, its link, and that nothing outlives it.

mod context;
mod edits;
mod far_end;
mod files;
mod git;
mod link;
mod mcp;
mod processes;

use bytes::Bytes;
use chatd::{
    agent::{Agent, Settings},
    clock::Clock,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method, Request, StatusCode, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer with its whole body.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    /// The JSON of a success.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{:?}", self.body);
        self.json()
    }

    /// The message of a refusal with this status.
    pub fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{:?}", self.body);
        self.json()["message"].as_str().expect("a message").to_owned()
    }
}

/// The daemon's end of a link, speaking for one chat.
#[derive(Clone)]
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    chat: String,
    tool_call: Option<String>,
}

impl Client {
    /// Speaks HTTP/2 over this pipe.
    pub async fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let connection = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io));
        let (sender, connection) = connection.await.expect("an HTTP/2 handshake");
        tokio::spawn(connection);
        Self { sender, chat: "chat-1".into(), tool_call: None }
    }

    pub fn chat(&self, chat: &str) -> Self {
        Self { chat: chat.into(), ..self.clone() }
    }

    pub fn tool_call(&self, id: &str) -> Self {
        Self { tool_call: Some(id.into()), ..self.clone() }
    }

    /// Asks; the error is that of a lost link.
    pub async fn try_call(&self, method: Method, path: &str, body: Bytes) -> hyper::Result<Answered> {
        let uri = format!("http://agent/api/v0/{path}");
        let mut request = Request::builder().method(method).uri(uri).header("X-Chatd-Chat-Id", &self.chat);
        request = request.header("X-Chatd-Ancestor-Chat-Ids", "null");
        if let Some(id) = &self.tool_call {
            request = request.header("X-Chatd-Tool-Call-Id", id);
        }
        let request = request.body(Full::new(body)).expect("a request");
        let answer = self.sender.clone().send_request(request).await?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answered { status: parts.status, headers: parts.headers, body })
    }

    pub async fn get(&self, path: &str) -> Answered {
        let answer = tokio::time::timeout(PATIENCE, self.try_call(Method::GET, path, Bytes::new())).await;
        answer.expect("an answer in time").expect("an answer")
    }

    pub async fn post(&self, path: &str, body: Value) -> Answered {
        self.post_bytes(path, body.to_string().into()).await
    }

    pub async fn post_bytes(&self, path: &str, body: Bytes) -> Answered {
        let answer = tokio::time::timeout(PATIENCE, self.try_call(Method::POST, path, body)).await;
        answer.expect("an answer in time").expect("an answer")
    }
}

/// An agent in this process, in a folder that goes with it.
pub struct Inside {
    pub client: Client,
    pub agent: Arc<Agent>,
    folder: tempfile::TempDir,
}

impl Inside {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With these variables in its environment beside `HOME`, which is `home` in its folder, and `PATH`.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("chatd-agent-").tempdir().expect("make a folder");
        let root = folder.path().canonicalize().expect("the folder is there");
        std::fs::create_dir(root.join("home")).expect("make a folder");
        std::fs::create_dir(root.join("work")).expect("make a folder");
        let mut environment: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        environment.push(("HOME".into(), root.join("home").into()));
        environment.push(("PATH".into(), std::env::var_os("PATH").expect("a PATH")));
        let agent =
            Agent::new(Settings::new("inside".into(), root.join("work"), environment), Clock::system());
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        tokio::spawn(chatd::agent::serve(theirs, agent.clone()));
        Self { client: Client::over(ours).await, agent, folder }
    }

    /// Another link to the same agent.
    pub async fn again(&self) -> Client {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        tokio::spawn(chatd::agent::serve(theirs, self.agent.clone()));
        Client::over(ours).await
    }

    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().expect("the folder is there")
    }

    /// A path in the agent's working folder.
    pub fn at(&self, path: &str) -> String {
        self.root().join("work").join(path).to_str().expect("a folder of ours is text").to_owned()
    }

    /// A path in its home.
    pub fn home(&self, path: &str) -> String {
        self.root().join("home").join(path).to_str().expect("a folder of ours is text").to_owned()
    }
}

/// The value escaped for a query.
pub fn escaped(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes()).collect()
}
