//! The socket to a provider: one POST whose answer is a stream of events.

pub mod reach;
#[cfg(test)]
mod tests;

use super::{
    EventStream, anthropic_messages,
    classify::{RawFailure, classify_named},
    event::Event,
    failure::Failure,
    providers::{self, KeyHeader, Provider},
    request::{Request, WireFormat},
    retry_after,
    secret::Secret,
    sse,
    tap::{self, Tap},
    wire::{self, Wire, WireError},
};
use crate::clock::{Clock, Timestamp};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use reqwest::{
    RequestBuilder, Response, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use std::{
    collections::VecDeque,
    error::Error as _,
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};
use tokio::time::{Instant, timeout, timeout_at};

/// A model that sends nothing for this long is given up (agent-loop.md §1).
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

/// Part of the longest silence that is waited after an answer that is complete but for its usage or end
/// mark, 10 seconds by default: some servers send neither and keep the connection.
const LINGER_PART: u32 = 60;

/// Time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of an error body that are read (agent-loop.md §11.2), and the time for it.
const MAX_ERROR_BODY: usize = 64 * 1024;
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of event data of one answer. Far above any answer, far below the memory.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Value of `anthropic-version`.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// Where and how a model is asked.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Wire name of the provider type: `anthropic`, `openai`, ….
    pub provider_type: String,
    /// Name of the provider in messages to users.
    pub display_name: String,
    /// Address without the path of the call.
    pub base_url: String,
    /// The credential.
    pub api_key: Option<Secret>,
    /// Format it speaks.
    pub format: WireFormat,
    /// More headers. Their values are treated as secrets.
    pub headers: Vec<(String, Secret)>,
    /// Longest silence; see [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
}

impl Endpoint {
    /// Whether the provider keeps the answer to a request, so that a later one can go on from it.
    #[must_use]
    pub fn keeps_answers(&self, request: &Request) -> bool {
        wire::keeps_answers(self.format, self.provider(), request)
    }

    /// The address of the call.
    ///
    /// # Errors
    /// Says what is wrong with the base URL.
    pub fn url(&self) -> Result<Url, String> {
        let mut url = Url::parse(&self.base_url).map_err(|e| e.to_string())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("it must be an absolute http or https address".to_owned());
        }
        let mut path = url.path().trim_end_matches('/').to_owned();
        // The address of one deployment, with its `api-version`, is the older form and complete.
        if self.provider_type == "azure" && !path.contains(providers::AZURE_DEPLOYMENTS) {
            let (openai, v1) = (path.ends_with("/openai"), path.ends_with("/openai/v1"));
            path.push_str(match (openai, v1) {
                (_, true) => "",
                (true, _) => "/v1",
                _ => "/openai/v1",
            });
        }
        path.push_str(match self.format {
            WireFormat::AnthropicMessages if path.ends_with("/v1") => "/messages",
            WireFormat::AnthropicMessages => "/v1/messages",
            WireFormat::ChatCompletions => "/chat/completions",
            WireFormat::OpenaiResponses => "/responses",
        });
        url.set_path(&path);
        Ok(url)
    }

    fn provider(&self) -> &'static Provider {
        // A type that is not in the table is asked like any compatible server.
        providers::lookup(&self.provider_type).unwrap_or(&providers::PROVIDERS[0])
    }

    fn headers(&self, request: &Request) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if self.format == WireFormat::AnthropicMessages {
            for beta in anthropic_messages::betas(request) {
                headers.append("anthropic-beta", HeaderValue::from_static(beta));
            }
        }
        for (name, value) in &request.headers {
            // Ids only; what the administrator configures below goes before.
            headers.insert(*name, HeaderValue::from_str(value).map_err(|_| "an id is no header value")?);
        }
        self.credentials(&mut headers)?;
        Ok(headers)
    }

    /// Adds what every request to the provider carries.
    fn credentials(&self, headers: &mut HeaderMap) -> Result<(), String> {
        let secret = |text: String| {
            let mut value =
                HeaderValue::from_str(&text).map_err(|_| "a header value has forbidden characters")?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        };
        if self.format == WireFormat::AnthropicMessages {
            headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
        }
        if let Some(key) = &self.api_key {
            let key = key.expose().trim();
            match self.provider().key_header {
                KeyHeader::Bearer => headers.insert(AUTHORIZATION, secret(format!("Bearer {key}"))?),
                KeyHeader::XApiKey => headers.insert("x-api-key", secret(key.to_owned())?),
                KeyHeader::ApiKey => headers.insert("api-key", secret(key.to_owned())?),
            };
        }
        for (name, value) in &self.headers {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no header name"))?;
            headers.insert(name, secret(value.expose().to_owned())?);
        }
        Ok(())
    }
}

/// The HTTP client that all calls share: TLS by rustls with ring, no total timeout, no redirects (they
/// would carry the credential elsewhere), proxies from the environment.
///
/// # Errors
/// When the TLS back end cannot be set up.
pub fn client() -> reqwest::Result<reqwest::Client> {
    // Fails only when a provider is installed already, which then serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        // Providers close idle connections after about a minute or more; ours go first, so that a
        // request is not sent into a connection that is being closed.
        .pool_idle_timeout(Duration::from_secs(50))
        .user_agent(format!(
            "chatd/{} ({}/{})",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ))
        .build()
}

/// Asks a model. Nothing is sent before the stream is polled; dropping it closes the socket. After
/// [`Event::Finish`] or an error the stream ends.
#[must_use]
pub fn stream(client: &reqwest::Client, endpoint: &Endpoint, request: &Request) -> EventStream {
    stream_tapped(client, endpoint, request, None)
}

/// The same, with what goes over the wire written into a tap.
#[must_use]
pub fn stream_tapped(
    client: &reqwest::Client,
    endpoint: &Endpoint,
    request: &Request,
    tap: Option<Tap>,
) -> EventStream {
    let salt = uuid::Uuid::now_v7().simple().to_string();
    let stage = match prepare(client, endpoint, request, tap.as_ref()) {
        Ok(builder) => Stage::Send(builder),
        Err(reason) => Stage::Failed(RawFailure::Unusable(reason)),
    };
    let call = Call {
        provider_type: endpoint.provider_type.clone(),
        display_name: endpoint.display_name.clone(),
        secrets: endpoint.api_key.iter().chain(endpoint.headers.iter().map(|(_, v)| v)).cloned().collect(),
        idle: endpoint.idle_timeout,
        deadline: None,
        stage,
        reader: sse::Reader::default(),
        wire: wire::decoder(endpoint.format, &request.model, &salt),
        ready: VecDeque::new(),
        bytes: 0,
        tap,
    };
    stream::unfold(call, |mut call| async move { call.next().await.map(|item| (item, call)) }).boxed()
}

fn prepare(
    client: &reqwest::Client,
    endpoint: &Endpoint,
    request: &Request,
    tap: Option<&Tap>,
) -> Result<RequestBuilder, String> {
    let body = Bytes::from(wire::encode(endpoint.format, endpoint.provider(), request));
    let (url, headers) = (endpoint.url()?, endpoint.headers(request)?);
    if let Some(tap) = tap {
        let mut exchange = tap.lock();
        exchange.url = url.to_string();
        exchange.request_headers = tap::headers(&headers);
        exchange.request_body = body.clone();
    }
    Ok(client.post(url).headers(headers).body(body))
}

enum Stage {
    Send(RequestBuilder),
    Read(Response),
    /// To be told when the events before it are taken.
    Failed(RawFailure),
    Over,
}

struct Call {
    provider_type: String,
    display_name: String,
    secrets: Vec<Secret>,
    idle: Duration,
    /// When the silence has lasted too long. Set when the call begins.
    deadline: Option<Instant>,
    stage: Stage,
    reader: sse::Reader,
    wire: Box<dyn Wire>,
    ready: VecDeque<Event>,
    /// Event data so far.
    bytes: usize,
    tap: Option<Tap>,
}

enum ReadError {
    TooLarge,
    Wire(WireError),
}

impl From<sse::TooLarge> for ReadError {
    fn from(_: sse::TooLarge) -> Self {
        Self::TooLarge
    }
}

impl From<ReadError> for RawFailure {
    fn from(e: ReadError) -> Self {
        match e {
            ReadError::TooLarge => {
                Self::Unusable("the answer is larger than any answer of a model may be".to_owned())
            }
            ReadError::Wire(e) => Self::Wire(e),
        }
    }
}

impl Call {
    async fn next(&mut self) -> Option<Result<Event, Failure>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.idle);
            let step = match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Over => return None,
                Stage::Failed(raw) => return Some(Err(self.failure(raw))),
                Stage::Send(builder) => self.send(builder, deadline).await,
                Stage::Read(response) => self.read(response, deadline).await,
            };
            self.stage = step.unwrap_or_else(Stage::Failed);
        }
    }

    async fn send(&mut self, builder: RequestBuilder, deadline: Instant) -> Result<Stage, RawFailure> {
        let response = timeout_at(deadline, builder.send())
            .await
            .map_err(|_| RawFailure::Silence(self.idle))?
            .map_err(|e| {
                if e.is_builder() {
                    RawFailure::Unusable(causes(&e))
                } else {
                    RawFailure::Network(causes(&e))
                }
            })?;
        if let Some(tap) = &self.tap {
            let mut exchange = tap.lock();
            exchange.response_status = Some(response.status().as_u16());
            exchange.response_headers = tap::headers(response.headers());
        }
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        if !response.status().is_success() {
            let now = UNIX_EPOCH + Clock::system().now().since(Timestamp::from_micros(0));
            let retry_after = retry_after::parse(header("retry-after-ms"), header("retry-after"), now);
            let status = response.status().as_u16();
            let body = error_body(response).await;
            self.keep_error(&body);
            return Err(RawFailure::Status { status, retry_after, body });
        }
        let kind = header(CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
        let no_stream = kind.starts_with("application/json") || kind.starts_with("text/html");
        if !no_stream {
            return Ok(Stage::Read(response));
        }
        let body = error_body(response).await;
        self.keep_error(&body);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        if value.get("error").is_some_and(|e| !e.is_null()) {
            return Err(RawFailure::Wire(WireError::from_value(&value)));
        }
        Err(RawFailure::Unusable(format!(
            "the answer is {kind} and not an event stream; is the base URL right?"
        )))
    }

    async fn read(&mut self, mut response: Response, deadline: Instant) -> Result<Stage, RawFailure> {
        let outcome = match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                if let Some(tap) = &self.tap {
                    tap.lock().response_bytes += chunk.len();
                }
                let result = self.take(&chunk);
                if self.wire.done() {
                    // The connection can be used again once its last bytes are read.
                    tokio::spawn(drain(response));
                    return Ok(Stage::Over);
                }
                result?;
                return Ok(Stage::Read(response));
            }
            Ok(Ok(None)) => RawFailure::Incomplete,
            Ok(Err(e)) => RawFailure::Network(causes(&e)),
            Err(_) => RawFailure::Silence(self.idle),
        };
        // No more bytes. The last event may lack its blank line; if what is there of it cannot be read,
        // the answer was cut in the middle of it.
        let Self { reader, wire, ready, .. } = self;
        let mut events = Vec::new();
        let last = reader.finish(|name, data| wire.feed(name, data, &mut events));
        if !matches!(last, Err(WireError::Provider { .. })) {
            wire.end(&mut events);
        }
        ready.extend(events);
        match last {
            _ if wire.done() => Ok(Stage::Over),
            Err(e @ WireError::Provider { .. }) => Err(RawFailure::Wire(e)),
            _ => Err(outcome),
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), ReadError> {
        let Self { reader, wire, ready, bytes, deadline, idle, .. } = self;
        let mut events = Vec::new();
        let result = reader.push(chunk, |name, data| {
            *bytes += data.len();
            if *bytes > MAX_ANSWER {
                return Err(ReadError::TooLarge);
            }
            let before = events.len();
            wire.feed(name, data, &mut events).map_err(ReadError::Wire)?;
            // A keep-alive, or a chunk that says nothing, is no progress: such a model is silent.
            if events.len() > before {
                *deadline = Some(Instant::now() + *idle);
            }
            Ok(())
        });
        if wire.ending() {
            *deadline = (*deadline).min(Some(Instant::now() + *idle / LINGER_PART));
        }
        ready.extend(events);
        result
    }

    fn keep_error(&self, body: &str) {
        if let Some(tap) = &self.tap {
            let clean = self.secrets.iter().fold(body.to_owned(), |text, secret| secret.redact(&text));
            let mut exchange = tap.lock();
            exchange.response_bytes = body.len();
            exchange.response_body = Some(clean);
        }
    }

    fn failure(&self, raw: RawFailure) -> Failure {
        // Before anything is cut: half a key would not be found any more.
        let raw = raw.map_text(|text| self.secrets.iter().fold(text, |text, secret| secret.redact(&text)));
        classify_named(&self.provider_type, Some(&self.display_name), raw)
    }
}

/// The first 64 KiB of a body. A body that cannot be read is as good as none: the status decides.
async fn error_body(mut response: Response) -> String {
    let mut body = Vec::new();
    let read = async {
        while body.len() < MAX_ERROR_BODY
            && let Ok(Some(chunk)) = response.chunk().await
        {
            let room = MAX_ERROR_BODY - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
    };
    // Out of time: what has come so far is used.
    let _elapsed = timeout(ERROR_BODY_TIMEOUT, read).await;
    String::from_utf8_lossy(&body).into_owned()
}

/// Reads what may follow a complete answer, so that the connection goes back to the pool; a server
/// that sends more than a little, or takes more than a second, loses the connection.
async fn drain(mut response: Response) {
    let rest = async {
        let mut bytes = 0;
        while bytes < MAX_ERROR_BODY
            && let Ok(Some(chunk)) = response.chunk().await
        {
            bytes += chunk.len();
        }
    };
    let _elapsed = timeout(Duration::from_secs(1), rest).await;
}

/// The error and its causes; without the URL, whose query may hold a key.
fn causes(error: &reqwest::Error) -> String {
    let mut text =
        if error.is_connect() { "cannot connect".to_owned() } else { "the connection failed".to_owned() };
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}
