//! What a workspace's agent is asked, one function a request (tools.md §15).

use super::{
    lines::{Lines, ReadCaps, ReadRequest},
    link::{AgentClient, AnswerBody, LinkError},
    wire::{
        BASE, CallMcpTool, ContextConfig, Directory, Done, EditFiles, ErrorBody, ListDirectory, McpResult,
        McpTools, ProcessOutput, Processes, REPEATED, ReadLines, Relativity, ResolvedPath, SignalProcess,
        StartProcess, Started, TOOL_CALL_ID, TOOLS_VERSION,
    },
};
use crate::metrics;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Most bytes of an answer; an agent is not trusted with the daemon's memory. Twice what the largest read has.
const MAX_ANSWER: usize = 32 << 20;
/// Most bytes of a list of tools, of which most would be left out.
const MAX_TOOLS: usize = 4 << 20;
/// Most bytes of what a tool of a tool server says: an agent takes 4 MiB of a server, which may be longer as JSON.
const MAX_SAID: usize = 8 << 20;

/// Why a request to an agent has no result. The text is for the model.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no answer. Whether the request was carried out is not known.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The agent says no.
    #[error("{message}")]
    Refused {
        /// Of the answer.
        status: StatusCode,
        /// What it says.
        message: String,
    },
    /// The answer is none.
    #[error("the workspace's agent answered with something else than it should have: {0}")]
    Malformed(String),
}

impl CallError {
    /// Whether the link was lost, so that the same request may be sent again over the next one.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.was_sent() || matches!(self, Self::Link(LinkError::NotSent | LinkError::NotSentElsewhere(_)))
    }

    /// Whether the link was lost when the agent may have had the request.
    #[must_use]
    pub const fn was_sent(&self) -> bool {
        matches!(self, Self::Link(LinkError::Lost(_) | LinkError::LostElsewhere(_)))
    }

    /// Whether what was asked for is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// Whether the agent knows nothing of a call that was sent before.
    #[must_use]
    pub fn is_unknown_call(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::GONE)
    }
}

/// The tool call that a request with an effect is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallId {
    /// Unique in its chat for ever.
    pub id: String,
    /// It was sent before, by a process that did not live to tell.
    pub repeated: bool,
}

impl CallId {
    /// `again`: this process has sent it before.
    fn headers(&self, again: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // Providers choose the ids; what HTTP would not take is written in hexadecimal.
        let id = if self.id.bytes().all(|b| b.is_ascii_graphic()) {
            self.id.clone()
        } else {
            self.id.bytes().fold(String::from("hex-"), |text, byte| format!("{text}{byte:02x}"))
        };
        if let Ok(value) = HeaderValue::from_str(&id) {
            headers.insert(HeaderName::from_static(TOOL_CALL_ID), value);
        }
        if self.repeated || again {
            headers.insert(HeaderName::from_static(REPEATED), HeaderValue::from_static("true"));
        }
        headers
    }
}

/// A file as it was read.
#[derive(Debug, Clone)]
pub struct RawFile {
    /// As the agent tells it from the first bytes.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Which state of an agent's tools its last answer was of; 0: of none yet. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ToolsVersion(Arc<AtomicU64>);

impl ToolsVersion {
    /// What was told last.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes it from an answer; that of an earlier version does not tell.
    fn hear(&self, headers: &HeaderMap) -> u64 {
        let told =
            headers.get(TOOLS_VERSION).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
        self.0.store(told, Ordering::Relaxed);
        told
    }
}

/// An agent, for one chat.
#[derive(Debug, Clone)]
pub struct Remote {
    client: AgentClient,
    tools: ToolsVersion,
    /// What is asked was sent before, over a link that was lost: nothing may begin a second time.
    again: bool,
}

impl Remote {
    /// Asks through this client; `tools` hears of what its answers tell of the tools.
    #[must_use]
    pub const fn new(client: AgentClient, tools: ToolsVersion) -> Self {
        Self { client, tools, again: false }
    }

    /// The same for a request that was sent before, over a link that was lost. The agent may be another by now, or have
    /// been restarted, and must not begin with what is under way already.
    #[must_use]
    pub fn again(mut self, again: bool) -> Self {
        self.again = again;
        self
    }

    /// `GET read-file-lines`. The error is what the agent says of the file.
    ///
    /// # Errors
    /// When there is no answer, or the file cannot be read so.
    pub async fn read_lines(&self, request: &ReadRequest) -> Result<Lines, CallError> {
        let (caps, default) = (&request.caps, ReadCaps::default());
        let as_numbers = |caps: &ReadCaps| {
            [caps.file_bytes, caps.line_bytes as u64, caps.lines as u64, caps.response_bytes as u64]
        };
        let names = ["max_file_size", "max_line_bytes", "max_response_lines", "max_response_bytes"];
        let mut query = vec![
            ("path", request.path.clone()),
            ("offset", request.offset.to_string()),
            ("limit", request.limit.to_string()),
        ];
        // What the agent does anyway is not sent: most reads are short requests.
        let given = names.into_iter().zip(as_numbers(caps).into_iter().zip(as_numbers(&default)));
        query.extend(
            given
                .filter(|(_, (cap, default))| cap != default)
                .map(|(name, (cap, _))| (name, cap.to_string())),
        );
        let read: ReadLines = self.get("read_lines", "read-file-lines", &query).await?;
        if !read.success {
            let message = read.error.unwrap_or_else(|| "the file cannot be read".into());
            return Err(CallError::Refused { status: StatusCode::OK, message });
        }
        Ok(Lines {
            content: read.content.unwrap_or_default(),
            file_size: read.file_size.unwrap_or_default(),
            total_lines: read.total_lines.unwrap_or_default(),
            lines_read: read.lines_read.unwrap_or_default(),
        })
    }

    /// `GET read-file`: at most `limit` bytes of a file.
    ///
    /// # Errors
    /// When there is no answer, or the file cannot be read.
    pub async fn read_file(&self, path: &str, limit: u64) -> Result<RawFile, CallError> {
        let query = [("path", path.to_owned()), ("limit", limit.to_string())];
        let asked = Asked { query: &query, ..Asked::get("read_file", "read-file") };
        let (headers, bytes) = self.exchange(asked).await?;
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or("application/octet-stream").to_owned();
        Ok(RawFile { media_type, bytes })
    }

    /// `POST write-file`. `resolved`: where the path has to lead.
    ///
    /// # Errors
    /// When there is no answer, or the file cannot be written.
    pub async fn write_file(
        &self,
        path: &str,
        resolved: Option<&str>,
        content: Vec<u8>,
        call: &CallId,
    ) -> Result<(), CallError> {
        let mut query = vec![("path", path.to_owned())];
        query.extend(resolved.map(|resolved| ("resolved", resolved.to_owned())));
        // Twice the same content does no harm.
        let headers = call.headers(false);
        let asked =
            Asked { query: &query, headers, ..Asked::post("write_file", "write-file", content.into()) };
        self.exchange(asked).await.map(drop)
    }

    /// `POST edit-files`.
    ///
    /// # Errors
    /// When there is no answer, or nothing was edited.
    pub async fn edit_files(&self, edits: &EditFiles, call: &CallId) -> Result<(), CallError> {
        self.post::<Done>("edit_files", "edit-files", edits, call.headers(self.again)).await.map(drop)
    }

    /// `POST processes/start`.
    ///
    /// # Errors
    /// When there is no answer, or nothing was started.
    pub async fn start(&self, process: &StartProcess, call: &CallId) -> Result<Started, CallError> {
        self.post("start_process", "processes/start", process, call.headers(self.again)).await
    }

    /// `GET processes/{id}/output`; with `wait` not before its end, or five minutes.
    ///
    /// # Errors
    /// When there is no answer, or the chat has no such process.
    pub async fn output(&self, id: &str, wait: bool) -> Result<ProcessOutput, CallError> {
        let kind = if wait { "wait_for_process" } else { "process_output" };
        self.get(kind, &format!("processes/{}/output", segment(id)), &[("wait", wait.to_string())]).await
    }

    /// `GET processes/list`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn processes(&self) -> Result<Processes, CallError> {
        self.get("list_processes", "processes/list", &[]).await
    }

    /// `POST processes/{id}/signal`.
    ///
    /// # Errors
    /// When there is no answer, or it cannot be signalled.
    pub async fn signal(&self, id: &str, signal: &str) -> Result<Done, CallError> {
        let body = SignalProcess { signal: signal.to_owned() };
        let path = format!("processes/{}/signal", segment(id));
        self.post("signal_process", &path, &body, HeaderMap::new()).await
    }

    /// `GET mcp/tools`: what the tool servers of the workspace offer, and which state of it that is. The agent starts them for
    /// that.
    ///
    /// # Errors
    /// When there is no answer, or it is too long.
    pub async fn mcp_tools(&self) -> Result<(McpTools, u64), CallError> {
        let asked = Asked { limit: MAX_TOOLS, ..Asked::get("list_tools", "mcp/tools") };
        let (headers, said) = self.exchange(asked).await?;
        Ok((json(&said)?, self.tools.hear(&headers)))
    }

    /// `POST mcp/call-tool`. `None`: there is no such tool.
    ///
    /// # Errors
    /// When there is no answer, or the tool server gave none.
    pub async fn call_mcp_tool(
        &self,
        body: &CallMcpTool,
        call: &CallId,
    ) -> Result<Option<McpResult>, CallError> {
        let body = serde_json::to_vec(body).map_err(|e| CallError::Malformed(e.to_string()))?;
        let headers = call.headers(self.again);
        let asked =
            Asked { headers, limit: MAX_SAID, ..Asked::post("call_tool", "mcp/call-tool", body.into()) };
        match self.exchange(asked).await {
            Ok((_, said)) => json(&said).map(Some),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// `GET resolve-path`: the path with its links followed.
    ///
    /// # Errors
    /// When there is no answer, or it leads nowhere.
    pub async fn resolve(&self, path: &str) -> Result<String, CallError> {
        let resolved: ResolvedPath =
            self.get("resolve_path", "resolve-path", &[("path", path.to_owned())]).await?;
        Ok(resolved.resolved_path)
    }

    /// The home directory of the agent's user.
    ///
    /// # Errors
    /// When there is no answer, or it cannot be listed.
    pub async fn home(&self) -> Result<String, CallError> {
        let home = ListDirectory { path: Vec::new(), relativity: Relativity::Home };
        let listed: Directory =
            self.post("list_directory", "list-directory", &home, HeaderMap::new()).await?;
        Ok(listed.absolute_path_string)
    }

    /// What is in a directory.
    ///
    /// # Errors
    /// When there is no answer, or it cannot be listed.
    pub async fn list(&self, path: &str) -> Result<Directory, CallError> {
        let path = path.split('/').filter(|step| !step.is_empty()).map(str::to_owned).collect();
        let asked = ListDirectory { path, relativity: Relativity::Root };
        self.post("list_directory", "list-directory", &asked, HeaderMap::new()).await
    }

    /// `GET context-config`: what the project says of itself.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn context(&self) -> Result<ContextConfig, CallError> {
        self.get("context", "context-config", &[]).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        kind: &'static str,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, CallError> {
        json(&self.exchange(Asked { query, ..Asked::get(kind, path) }).await?.1)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        kind: &'static str,
        path: &str,
        body: &(impl Serialize + Sync),
        headers: HeaderMap,
    ) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(|e| CallError::Malformed(e.to_string()))?;
        json(&self.exchange(Asked { headers, ..Asked::post(kind, path, body.into()) }).await?.1)
    }

    /// Asks, and takes the whole answer in. One with another status than success is an error.
    async fn exchange(&self, asked: Asked<'_>) -> Result<(HeaderMap, Bytes), CallError> {
        let begun = Instant::now();
        let mut target = format!("{BASE}{}", asked.path);
        if !asked.query.is_empty() {
            let mut text = form_urlencoded::Serializer::new(String::new());
            text.extend_pairs(asked.query.iter().map(|(name, value)| (*name, value.as_str())));
            target.push('?');
            target.push_str(&text.finish());
        }
        let response = self.client.request(asked.method, &target, asked.headers, asked.body).await?;
        let status = response.status();
        let headers = response.headers().clone();
        self.tools.hear(&headers);
        let limit = if status.is_success() { asked.limit } else { MAX_ANSWER };
        let bytes = whole_within(response, limit).await?;
        ::metrics::histogram!(metrics::AGENT_REQUEST_SECONDS, "request" => asked.kind)
            .record(begun.elapsed().as_secs_f64());
        if status.is_success() {
            return Ok((headers, bytes));
        }
        let message = match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) if !body.message.is_empty() => body.message,
            // Before the agent looks at it: the path stands in the address.
            _ if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                "a path or name in this call is longer than any in a workspace can be".to_owned()
            }
            _ => format!("the workspace's agent answered with status {status}"),
        };
        Err(CallError::Refused { status, message })
    }
}

/// A request to an agent.
struct Asked<'a> {
    /// What it is called in metrics.
    kind: &'static str,
    method: Method,
    path: &'a str,
    query: &'a [(&'a str, String)],
    headers: HeaderMap,
    body: Bytes,
    /// Most bytes of a good answer.
    limit: usize,
}

impl<'a> Asked<'a> {
    fn get(kind: &'static str, path: &'a str) -> Self {
        Self { method: Method::GET, ..Self::post(kind, path, Bytes::new()) }
    }

    fn post(kind: &'static str, path: &'a str, body: Bytes) -> Self {
        Self {
            kind,
            method: Method::POST,
            path,
            query: &[],
            headers: HeaderMap::new(),
            body,
            limit: MAX_ANSWER,
        }
    }
}

async fn whole_within(response: Response<AnswerBody>, limit: usize) -> Result<Bytes, CallError> {
    match Limited::new(response.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) => match e.downcast::<LinkError>() {
            Ok(lost) => Err(CallError::Link(*lost)),
            Err(e) => Err(CallError::Malformed(e.to_string())),
        },
    }
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(bytes).map_err(|e| CallError::Malformed(e.to_string()))
}

/// An id that a model chose, as a segment of a path.
fn segment(id: &str) -> String {
    form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>().replace('+', "%20")
}
