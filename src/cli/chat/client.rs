//! The daemon as the terminal's client sees it: requests, and the stream of one chat, opened again when it is lost.

use super::super::{Exit, Failure, output};
use crate::{
    ids::fresh_uuid,
    websocket::{self, NotOpened, cause},
};
use futures_util::StreamExt as _;
use reqwest::{Method, Response, StatusCode, Upgraded};
use serde_json::Value;
use std::{net::IpAddr, time::Duration};
use tokio::time::sleep;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};

/// Time to connect. Nobody waits longer before a terminal.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A stream that brings nothing for so long, not even the ping of every 15 s, is dead: three pings.
const SILENCE: Duration = Duration::from_secs(45);
/// First and longest wait before a stream that was lost is opened again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// How often a request is sent whose answer got lost. It carries a key under which it is done once.
const TRIES: u32 = 4;
/// Largest frame of a stream: the largest message that a daemon can be told to take, and its events.
const MAX_FRAME: usize = 256 << 20;

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody is there.
    #[error("no daemon answers at {url} ({why}); start it with `chatd serve`, or give another --url")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the system says.
        why: String,
    },
    /// The daemon says no.
    #[error("{message}")]
    Refused {
        /// Of the answer.
        status: StatusCode,
        /// What it says, and what is to be done about it.
        message: String,
    },
    /// Something else answers.
    #[error("what answers at {url} is no chatd, or a proxy before it changes what it says: {why}")]
    Strange {
        /// Where.
        url: String,
        /// What is strange.
        why: String,
    },
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::failed(error.to_string().trim_end_matches('.'))
    }
}

/// Whether an address is one of this host.
#[must_use]
pub fn is_local(url: &str) -> bool {
    let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.is_some_and(|host| {
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    })
}

/// Asks a daemon. Clones share the connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    /// The address as it is told: without a password in it.
    shown: String,
    token: String,
}

impl Client {
    /// For the daemon at an address, with or without a path prefix.
    ///
    /// # Errors
    /// Status 2 when address or token cannot be meant.
    pub fn new(url: &str, token: String) -> Result<Self, Failure> {
        let usage = |what: String| Failure::new(Exit::Usage, what);
        let parsed = reqwest::Url::parse(url).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        let Some(mut shown) = parsed else {
            let what = "--url is no address of a daemon; it reads http://HOST:PORT or https://HOST";
            return Err(usage(what.into()));
        };
        // An http address takes both.
        let _ = shown.set_username("").and_then(|()| shown.set_password(None));
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(usage("the token has characters that no token has; copy it again".into()));
        }
        // Fails when there is one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        // A stream is an upgrade of HTTP/1.1.
        let builder = reqwest::Client::builder().http1_only();
        let builder = if is_local(url) { builder.no_proxy() } else { builder };
        let http = builder
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Failure::failed(format!("no HTTP client can be made: {}", cause(e))))?;
        let shown = shown.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), shown, token })
    }

    /// Sends a request that changes nothing.
    ///
    /// # Errors
    /// When there is no good answer.
    pub async fn get(&self, path: &str) -> Result<Value, CallError> {
        self.call(Method::GET, path, None, None).await
    }

    /// Sends a request that is carried out once, however often its answer is lost.
    ///
    /// # Errors
    /// When there is no good answer.
    pub async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, CallError> {
        let key = fresh_uuid().to_string();
        let mut wait = BACKOFF.0;
        for _ in 1..TRIES {
            match self.call(Method::POST, path, body, Some(&key)).await {
                // It has begun to talk with us and was lost: it may be restarting.
                Err(CallError::Strange { .. }) => sleep(wait).await,
                Err(CallError::Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => sleep(wait).await,
                answered => return answered,
            }
            wait *= 2;
        }
        self.call(Method::POST, path, body, Some(&key)).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Value, CallError> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).timeout(ANSWER_TIMEOUT);
        request = request.header("Coder-Session-Token", &self.token);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|e| self.failed(e))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(self.refused(answer).await);
        }
        let bytes = answer.bytes().await.map_err(|e| self.failed(e))?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|e| self.strange(format!("its answer is no JSON ({e})")))
    }

    fn strange(&self, why: String) -> CallError {
        CallError::Strange { url: self.shown.clone(), why }
    }

    fn failed(&self, error: reqwest::Error) -> CallError {
        let connecting = error.is_connect();
        let why = cause(error);
        if connecting { CallError::Unreachable { url: self.shown.clone(), why } } else { self.strange(why) }
    }

    async fn refused(&self, answer: Response) -> CallError {
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            let message =
                "the daemon does not accept the token; `chatd token create --user NAME` makes one".to_owned();
            return CallError::Refused { status, message };
        }
        let said = answer.bytes().await.ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let Some(message) = said.as_ref().and_then(|body| body["message"].as_str()) else {
            return self.strange(format!("it answers with status {status}"));
        };
        let detail = said.as_ref().and_then(|body| body["detail"].as_str()).unwrap_or_default();
        let message = if detail.is_empty() { message.to_owned() } else { format!("{message} {detail}") };
        CallError::Refused { status, message }
    }

    /// The stream of a chat, behind the message of this id. It is opened with the first look at it.
    #[must_use]
    pub fn stream(&self, chat: &str, after: Option<i64>) -> Stream {
        Stream { client: self.clone(), chat: chat.to_owned(), after, socket: None, wait: BACKOFF.0 }
    }
}

/// What happens in a chat.
pub struct Stream {
    client: Client,
    chat: String,
    after: Option<i64>,
    socket: Option<WebSocketStream<Upgraded>>,
    wait: Duration,
}

impl Stream {
    /// The events of the next frame. A stream that is lost is opened again, behind the message `newest`. May be dropped
    /// before it ends: nothing is lost.
    ///
    /// # Errors
    /// When the daemon does not let it be opened.
    pub async fn next(&mut self, newest: Option<i64>) -> Result<Vec<Value>, CallError> {
        loop {
            let Some(socket) = &mut self.socket else {
                self.after = newest.or(self.after);
                self.open().await?;
                continue;
            };
            match tokio::time::timeout(SILENCE, socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => {
                    self.wait = BACKOFF.0;
                    return serde_json::from_str(&text)
                        .map_err(|e| self.client.strange(format!("its stream is no JSON ({e})")));
                }
                // The library answers pings.
                Ok(Some(Ok(message))) if !message.is_close() => {}
                _ => {
                    self.socket = None;
                    sleep(self.wait).await;
                }
            }
        }
    }

    async fn open(&mut self) -> Result<(), CallError> {
        let after = self.after.map(|id| format!("?after_id={id}")).unwrap_or_default();
        let url = format!("{}/api/experimental/chats/{}/stream{after}", self.client.url, self.chat);
        let request = self.client.http.get(url).header("Coder-Session-Token", &self.client.token);
        let why = match websocket::open(request).await {
            Ok(upgraded) => {
                let config = WebSocketConfig::default()
                    .max_message_size(Some(MAX_FRAME))
                    .max_frame_size(Some(MAX_FRAME));
                self.socket =
                    Some(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await);
                return Ok(());
            }
            // Of too many requests another one is not refused for ever.
            Err(NotOpened::Refused(answer))
                if answer.status().is_client_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS =>
            {
                return Err(self.client.refused(*answer).await);
            }
            Err(NotOpened::Refused(answer)) => format!("status {}", answer.status()),
            Err(NotOpened::Http(error)) => cause(error),
            Err(error @ NotOpened::NoWebSocket) => return Err(self.client.strange(error.to_string())),
        };
        output::note(format_args!("chatd: the daemon cannot be reached ({why}); trying again"));
        sleep(self.wait).await;
        self.wait = (self.wait * 2).min(BACKOFF.1);
        Ok(())
    }
}
