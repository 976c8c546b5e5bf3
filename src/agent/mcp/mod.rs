//! Tool servers of the project, spoken to over their standard input and output (tools.md §15.6). They
//! are started when somebody asks for tools, and again when they have ended or their configuration has
//! changed.

mod config;
mod content;
mod schema;
mod server;
mod throttle;
mod version;

use super::{
    answer::{Answer, Refusal},
    settings::Settings,
};
use crate::workspace::wire::{CallMcpTool, McpTool, McpTools};
use config::ServerConfig;
use futures_util::future::join_all;
use hyper::StatusCode;
use server::{Failed, Server};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use version::Version;

/// What tells that a file has changed: its time and length; `None` when it is not there.
type Stamp = Option<(SystemTime, u64)>;

/// The tool servers of an agent.
#[derive(Debug, Default)]
pub struct Servers {
    table: Mutex<Table>,
    version: Version,
}

#[derive(Debug, Default)]
struct Table {
    stamps: Vec<(PathBuf, Stamp)>,
    servers: BTreeMap<String, Arc<Server>>,
    stopping: bool,
}

impl Servers {
    /// A number that is another one when what [`Self::tools`] tells may be, too.
    pub fn version(&self) -> u64 {
        self.version.get()
    }

    /// `GET mcp/tools`: those of all servers that answer.
    pub async fn tools(&self, settings: &Settings) -> Answer {
        let servers: Vec<_> = self.current(settings).await.into_values().collect();
        let listed = join_all(servers.iter().map(|server| server.connection(settings))).await;
        let mut tools: Vec<McpTool> = Vec::new();
        let incomplete = listed.iter().any(Result::is_err);
        for (server, connection) in servers.iter().zip(listed) {
            match connection {
                Ok(connection) => tools.extend(connection.tools()),
                Err(error) => tracing::warn!(server = server.name(), %error, "a tool server is left out"),
            }
        }
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        Answer::ok(&McpTools { tools, incomplete })
    }

    /// `POST mcp/call-tool`
    pub async fn call(&self, settings: &Settings, call: CallMcpTool) -> Result<Answer, Refusal> {
        let unknown = || {
            let message = format!("there is no tool {:?}; list the tools again", call.tool_name);
            Refusal::new(StatusCode::NOT_FOUND, message)
        };
        let mut failure = None;
        for server in self.current(settings).await.into_values() {
            // The names of two servers may begin alike.
            if !call.tool_name.starts_with(&content::full_name(server.name(), "")) {
                continue;
            }
            let failed = |error: String| {
                Refusal::new(StatusCode::BAD_GATEWAY, format!("the tool server {:?}: {error}", server.name()))
            };
            let connection = match server.connection(settings).await {
                Ok(connection) => connection,
                Err(error) => {
                    failure = Some(failed(error));
                    continue;
                }
            };
            if let Some(tool) = connection.own_name(&call.tool_name) {
                let said = connection.call(&tool, call.arguments).await;
                let is_unknown = match &said {
                    Ok(result) => content::is_unknown(result, &tool),
                    Err(failed) => failed.is_unknown,
                };
                if is_unknown && !server.lists(settings, &connection, &call.tool_name).await {
                    return Err(unknown());
                }
                return said.map(|result| Answer::ok(&result)).map_err(|Failed { why, .. }| failed(why));
            }
        }
        Err(failure.unwrap_or_else(unknown))
    }

    /// Ends all servers.
    pub async fn stop(&self) {
        let servers = {
            let mut table = self.lock();
            table.stopping = true;
            std::mem::take(&mut table.servers)
        };
        join_all(servers.values().map(|server| server.stop())).await;
    }

    /// The servers as the files say now. Those whose configuration is the same are the same.
    async fn current(&self, settings: &Settings) -> BTreeMap<String, Arc<Server>> {
        let paths: Vec<PathBuf> = settings.mcp_config_files.iter().map(|file| settings.place(file)).collect();
        let mut stamps = Vec::new();
        for path in paths {
            let stamp = stamp(&path).await;
            stamps.push((path, stamp));
        }
        if self.lock().stamps != stamps {
            let configs = read(settings, &stamps).await;
            let mut table = self.lock();
            let old = std::mem::take(&mut table.servers);
            let server = |config: ServerConfig| match old.get(&config.name) {
                Some(server) if *server.config() == config => server.clone(),
                _ => Arc::new(Server::new(config, self.version.clone())),
            };
            if !table.stopping {
                table.servers =
                    configs.into_iter().map(|config| (config.name.clone(), server(config))).collect();
            }
            table.stamps = stamps;
            self.version.step();
        }
        self.lock().servers.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn stamp(path: &Path) -> Stamp {
    let meta = tokio::fs::metadata(path).await.ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// What the files that are there say; the first definition of a name counts.
async fn read(settings: &Settings, stamps: &[(PathBuf, Stamp)]) -> Vec<ServerConfig> {
    let mut found: Vec<ServerConfig> = Vec::new();
    for (path, _) in stamps.iter().filter(|(_, stamp)| stamp.is_some()) {
        let (from, variables) = (path.clone(), settings.environment.clone());
        let parsed = crate::workspace::files::blocking(move || config::read(&from, &variables)).await;
        let (servers, problems) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => (Vec::new(), vec![error.to_string()]),
        };
        for problem in problems {
            tracing::warn!(file = %path.display(), problem, "part of the configuration of tool servers is left out");
        }
        for server in servers {
            let same = |known: &ServerConfig| content::safe(&known.name) == content::safe(&server.name);
            if found.len() < config::MAX_SERVERS && !found.iter().any(same) {
                found.push(server);
            }
        }
    }
    found
}
