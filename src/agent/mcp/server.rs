//! One tool server: started when it is needed, ended as a group, and never waited for without end.

use super::{
    config::ServerConfig,
    content,
    throttle::{MAX_MESSAGE, Throttle, Why},
    version::Version,
};
use crate::{
    agent::settings::Settings,
    workspace::{
        group::{Group, drain},
        output::HeadTail,
        text::suffix,
        wire::{McpResult, McpTool},
    },
};
use rmcp::{
    ClientHandler, Peer, RoleClient, ServiceError,
    model::{CallToolRequestParams, ErrorCode, JsonObject, PaginatedRequestParams, PingRequest},
    service::{NotificationContext, RunningService},
    transport::async_rw::AsyncRwTransport,
};
use std::{
    process::Stdio,
    sync::{
        Arc, Mutex as StdMutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    process::Command,
    sync::Mutex,
    time::{Instant, timeout},
};

/// Time for a server to start and to list its tools.
const CONNECT: Duration = Duration::from_secs(30);
/// Time for a server that runs to list its tools once more.
const LIST_AGAIN: Duration = Duration::from_secs(5);
/// Time for a call.
const CALL: Duration = Duration::from_secs(60);
/// How long a server that did not answer a call may take to say that it is there.
const PING: Duration = Duration::from_secs(3);
/// How long a server that failed to start is left alone: its failure would cost every list its time.
const LEFT_ALONE: Duration = Duration::from_secs(30);
/// Most tools of a server; every one of them is in every prompt.
const MAX_TOOLS: usize = 128;
/// Most pages of a list.
const MAX_PAGES: usize = 32;
/// What is told of a server that is given up.
const ANEW: &str = "The server is started anew when it is used next";
/// How long the rest of its error output is awaited.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes of its error output that are told with a failure.
const TOLD: usize = 2 << 10;

/// A server of the configuration, whether it runs or not.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    version: Version,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// What it listed when it was started last.
    listed: Option<Arc<[Listed]>>,
    failed: Option<(Instant, String)>,
    stopped: bool,
}

impl Server {
    /// Not started yet. `version` is stepped when its tools may be others.
    pub fn new(config: ServerConfig, version: Version) -> Self {
        Self { config, version, state: Mutex::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What it was made from.
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// A running server.
    ///
    /// # Errors
    /// Why there is none, for a person to read.
    pub async fn connection(&self, settings: &Settings) -> Result<Arc<Connection>, String> {
        let mut state = self.state.lock().await;
        if state.stopped {
            return Err("the agent is stopping".to_owned());
        }
        if let Some(connection) = state.connection.as_ref().filter(|connection| connection.is_open()) {
            connection.refresh(&self.config.name).await;
            return Ok(connection.clone());
        }
        if let Some((at, why)) = &state.failed
            && at.elapsed() < LEFT_ALONE
        {
            return Err(why.clone());
        }
        if let Some(ended) = state.connection.take() {
            ended.end().await;
        }
        match Connection::open(&self.config, settings, &self.version).await {
            Ok(connection) => {
                let listed = connection.listed();
                if state.listed.as_ref() != Some(&listed) {
                    self.version.step();
                    state.listed = Some(listed);
                }
                state.failed = None;
                let connection = Arc::new(connection);
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(why) => {
                state.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// Whether it still lists this tool, which it seems not to know: it is asked for its list once more.
    pub async fn lists(&self, settings: &Settings, connection: &Connection, name: &str) -> bool {
        connection.heard.stale.store(true, Ordering::SeqCst);
        match self.connection(settings).await {
            Ok(connection) => connection.own_name(name).is_some(),
            Err(_) => true,
        }
    }

    /// Ends it for good.
    pub async fn stop(&self) {
        let connection = {
            let mut state = self.state.lock().await;
            state.stopped = true;
            state.connection.take()
        };
        if let Some(connection) = connection {
            connection.end().await;
        }
    }
}

/// The end of a server's error output.
type ErrorOutput = Arc<StdMutex<HeadTail>>;

/// A tool as it is listed, and its own name.
#[derive(Debug, PartialEq)]
struct Listed {
    tool: McpTool,
    own: String,
}

/// What a server says unasked. Clones are the same.
#[derive(Debug, Clone)]
struct Heard {
    /// Its list of tools may be another one than it was.
    stale: Arc<AtomicBool>,
    version: Version,
}

impl ClientHandler for Heard {
    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.stale.store(true, Ordering::SeqCst);
        self.version.step();
    }
}

/// Why a call has no result.
#[derive(Debug)]
pub struct Failed {
    /// For a person to read.
    pub why: String,
    /// The server seems not to know the tool.
    pub is_unknown: bool,
}

/// A server that runs.
#[derive(Debug)]
pub struct Connection {
    /// Ends the server when it is dropped.
    group: Mutex<Group>,
    client: RunningService<RoleClient, Heard>,
    heard: Heard,
    tools: StdMutex<Arc<[Listed]>>,
    errors: ErrorOutput,
    /// Why what it writes is not read any more.
    cut_off: Why,
    /// It answers nothing.
    hangs: AtomicBool,
}

impl Connection {
    async fn open(config: &ServerConfig, settings: &Settings, version: &Version) -> Result<Self, String> {
        let mut command = Command::new(&config.command);
        command.args(&config.args).current_dir(&settings.directory);
        command.env_clear().envs(&settings.environment).envs(&config.env);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Group::spawn(&mut command);
        let mut group = started.map_err(|e| format!("{:?} could not be started: {e}", config.command))?;
        let pipes = group
            .child()
            .and_then(|child| Some((child.stdin.take()?, child.stdout.take()?, child.stderr.take()?)));
        let Some((input, output, mut error_output)) = pipes else {
            return Err("it has no pipes".to_owned());
        };
        let errors = ErrorOutput::default();
        let kept = errors.clone();
        let reading = tokio::spawn(async move {
            let keep = |bytes: &[u8]| kept.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
            // It ends with the server, in whatever way.
            drop(drain(&mut error_output, keep).await);
        });
        let cut_off = Why::default();
        let output = Throttle::new(output, cut_off.clone());
        // The throttle ends the stream at a long line; the transport would drop it, and its call wait for nothing.
        let transport = AsyncRwTransport::new(output, input).with_max_line_length(2 * MAX_MESSAGE);
        let heard = Heard { stale: Arc::default(), version: version.clone() };
        let opened = timeout(CONNECT, async {
            let client = rmcp::serve_client(heard.clone(), transport).await.map_err(|e| short(&e))?;
            let tools = list(&config.name, client.peer()).await?;
            Ok::<_, String>((client, tools))
        });
        let why = match opened.await {
            Ok(Ok((client, tools))) => {
                let (group, hangs) = (Mutex::new(group), AtomicBool::new(false));
                let tools = StdMutex::new(tools);
                return Ok(Self { group, client, heard, tools, errors, cut_off, hangs });
            }
            Ok(Err(why)) => cut_off.get().cloned().unwrap_or(why),
            Err(_) => format!("it did not list its tools within {CONNECT:?}"),
        };
        group.end().await;
        // What it has said last tells the most. Something else may hold its pipe, so not for long.
        drop(timeout(LAST_WORDS, reading).await);
        Err(with_errors(why, &errors))
    }

    /// Its tools as it listed them last.
    pub fn tools(&self) -> Vec<McpTool> {
        self.listed().iter().map(|listed| listed.tool.clone()).collect()
    }

    /// The server's own name of a tool that is listed so.
    pub fn own_name(&self, name: &str) -> Option<String> {
        self.listed().iter().find(|listed| listed.tool.name == name).map(|listed| listed.own.clone())
    }

    fn listed(&self) -> Arc<[Listed]> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for its list once more, if that may be another one by now. Until it comes, the list is the one that was known: a
    /// server that does one thing at a time answers only after a call that runs.
    async fn refresh(&self, name: &str) {
        if !self.heard.stale.swap(false, Ordering::SeqCst) {
            return;
        }
        let why = match timeout(LIST_AGAIN, list(name, self.client.peer())).await {
            Ok(Ok(tools)) => {
                let mut known = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
                if *known != tools {
                    *known = tools;
                    self.heard.version.step();
                }
                return;
            }
            Ok(Err(why)) => why,
            Err(_) => format!("it did not list its tools within {LIST_AGAIN:?}"),
        };
        self.heard.stale.store(true, Ordering::SeqCst);
        tracing::warn!(server = name, why, "the tools of a tool server are those that were known");
    }

    fn is_open(&self) -> bool {
        let usable = self.cut_off.get().is_none() && !self.hangs.load(Ordering::Relaxed);
        usable && !self.client.is_closed() && !self.client.peer().is_transport_closed()
    }

    /// Calls a tool by its own name.
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn call(&self, tool: &str, arguments: JsonObject) -> Result<McpResult, Failed> {
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let mut is_unknown = false;
        let why = match timeout(CALL, self.client.peer().call_tool(call)).await {
            Ok(Ok(result)) => return Ok(content::result(result)),
            Ok(Err(error)) => match self.cut_off.get() {
                Some(why) => format!("{why}; whether the call had an effect is unknown. {ANEW}"),
                None if self.is_open() => {
                    is_unknown = matches!(&error, ServiceError::McpError(said)
                        if said.code == ErrorCode::METHOD_NOT_FOUND || content::tells_unknown(&said.message, tool));
                    short(&error)
                }
                None => {
                    format!("it ended before it answered; whether the call had an effect is unknown. {ANEW}")
                }
            },
            Err(_) => {
                let why =
                    format!("it did not answer within {CALL:?}; whether the call had an effect is unknown");
                if self.answers().await {
                    why
                } else {
                    format!("{why}. It answers nothing else either. {ANEW}")
                }
            }
        };
        Err(Failed { why: with_errors(why, &self.errors), is_unknown })
    }

    /// Whether it is there. One that is not is started anew at its next use.
    async fn answers(&self) -> bool {
        let asked = self.client.peer().send_request(PingRequest::default().into());
        // Any answer will do, a refusal too.
        let answers = timeout(PING, asked).await.is_ok();
        self.hangs.store(!answers, Ordering::Relaxed);
        answers
    }

    async fn end(&self) {
        self.group.lock().await.end().await;
    }
}

/// The tools of a server, of all pages.
async fn list(server: &str, peer: &Peer<RoleClient>) -> Result<Arc<[Listed]>, String> {
    let mut tools: Vec<Listed> = Vec::new();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let page = PaginatedRequestParams::default().with_cursor(cursor);
        let page = peer.list_tools(Some(page)).await.map_err(|e| short(&e))?;
        for tool in &page.tools {
            let taken = |name: &str| tools.iter().any(|listed| listed.tool.name == name);
            let fits = |listed: &McpTool| tools.len() < MAX_TOOLS && !taken(&listed.name);
            let Some(listed) = content::tool(server, tool).filter(fits) else {
                tracing::warn!(server, tool = %tool.name,
                    "a tool is left out: it is too large, there are too many, or another one has its name");
                continue;
            };
            tools.push(Listed { tool: listed, own: tool.name.to_string() });
        }
        cursor = page.next_cursor;
        if cursor.is_none() || tools.len() >= MAX_TOOLS {
            break;
        }
    }
    Ok(tools.into())
}

/// The text of an error; what a server sent may be in it, at any length.
fn short(error: &impl std::fmt::Display) -> String {
    crate::workspace::text::prefix(&error.to_string(), TOLD).to_owned()
}

fn with_errors(why: String, errors: &ErrorOutput) -> String {
    let said = errors.lock().unwrap_or_else(PoisonError::into_inner).capture().text;
    match suffix(said.trim(), TOLD) {
        "" => why,
        said => format!("{why}; its error output ends with: {said}"),
    }
}
