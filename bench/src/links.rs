//! Links of agents that have nothing to do. Their far ends are here, so that only the daemon's side is measured.

use crate::{PATIENCE, Result, clock, http::Client, process::Daemon};
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _, http::header::AUTHORIZATION},
};

/// A template whose agents are not the daemon's to start.
const TEMPLATE: &str = "[[templates]]\nname = \"links\"\nkind = \"external\"\n";
/// How long it is left alone before its memory is read. A link whose agent says nothing for 16 s is ended: those that
/// are left then are true ones.
const SETTLE: Duration = Duration::from_secs(20);
/// Clients that make workspaces at the same time.
const MAKERS: usize = 8;
/// How often the daemon is asked whether something is there that takes it a moment.
const POLL: Duration = Duration::from_millis(50);
/// What an HTTP/2 server says first, and its answer to what the client has said first: frames of settings, without any.
const SETTINGS: [&[u8]; 2] = [&[0, 0, 0, 4, 0, 0, 0, 0, 0], &[0, 0, 0, 4, 1, 0, 0, 0, 0]];

/// Options of `chatd-bench links`.
#[derive(Args)]
pub struct Options {
    /// The program to measure.
    #[arg(long)]
    chatd: PathBuf,
    /// How many agents.
    #[arg(long, default_value_t = 1000)]
    agents: usize,
}

/// `chatd-bench links`.
pub async fn command(options: &Options) -> Result<()> {
    let home = tempfile::Builder::new().prefix("chatd-bench-").tempdir()?;
    println!("{:.1}", memory(&options.chatd, home.path(), options.agents).await?);
    Ok(())
}

/// Resident memory of a daemon of its own with so many links, in MiB, over what it has with as many workspaces and none.
pub async fn memory(program: &Path, home: &Path, agents: usize) -> Result<f64> {
    let program = std::path::absolute(program)?;
    let daemon = Daemon {
        program: &program,
        home: home.join("links"),
        postgres: None,
        // It is asked nothing.
        model: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
        coalesce: None,
        server: "",
        limits: "workspaces_per_user = 0",
        worker: TEMPLATE,
    };
    let (server, token) = daemon.start().await?;
    let agents = tokens(server.address, &token, agents).await?;
    sleep(SETTLE).await;
    let before = clock::resident_kib(server.pid)?;
    let mut links = link(server.address, &token, &agents).await?;
    sleep(SETTLE).await;
    links.hold()?;
    let grown = clock::resident_kib(server.pid)? - before;
    server.stop().await?;
    Ok(grown / 1024.0)
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
struct Workspace {
    id: String,
    agents: Vec<Agent>,
}

#[derive(Deserialize)]
struct Agent {
    id: String,
    status: String,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// Agents that are linked, until this is dropped.
struct Links {
    far_ends: JoinSet<Result<()>>,
}

impl Links {
    /// Whether all of them are still there.
    fn hold(&mut self) -> Result<()> {
        match self.far_ends.try_join_next() {
            None => Ok(()),
            Some(ended) => Err(format!("a link has ended: {:?}", ended?.err()).into()),
        }
    }
}

/// Tokens of so many agents, each of a workspace of its own.
async fn tokens(address: SocketAddr, token: &str, count: usize) -> Result<Vec<(String, String)>> {
    let mut http = Client::connect(address, token).await?;
    let all: Vec<Named> = serde_json::from_slice(&http.expect(200, "GET", "/api/v2/templates", "").await?)?;
    let template = all.into_iter().next().ok_or("the template is not declared")?.id;
    let mut makers = JoinSet::new();
    for maker in 0..MAKERS {
        let (token, template) = (token.to_owned(), template.clone());
        makers.spawn(async move {
            let mut http = Client::connect(address, &token).await?;
            let mut made = Vec::new();
            for n in (maker..count).step_by(MAKERS) {
                let body = format!(r#"{{"name":"idle-{n}","template_id":"{template}"}}"#);
                let answer = http.expect(201, "POST", "/api/v2/workspaces", &body).await?;
                made.push(serde_json::from_slice::<Workspace>(&answer)?.id);
            }
            let mut tokens = Vec::new();
            for workspace in made {
                let agent = agent(&mut http, &workspace, |_| true).await?;
                let path = format!("/api/v2/workspaceagents/{agent}/token");
                let answer = http.expect(201, "POST", &path, "{}").await?;
                tokens.push((workspace, serde_json::from_slice::<Token>(&answer)?.token));
            }
            Result::Ok(tokens)
        });
    }
    let mut tokens = Vec::new();
    while let Some(made) = makers.join_next().await {
        tokens.append(&mut made??);
    }
    Ok(tokens)
}

/// The agent of a workspace, once it is as wanted.
async fn agent(http: &mut Client, workspace: &str, wanted: impl Fn(&Agent) -> bool) -> Result<String> {
    let begin = Instant::now();
    loop {
        let answer = http.expect(200, "GET", &format!("/api/v2/workspaces/{workspace}"), "").await?;
        let seen: Workspace = serde_json::from_slice(&answer)?;
        if let Some(agent) = seen.agents.into_iter().find(&wanted) {
            return Ok(agent.id);
        }
        if begin.elapsed() > PATIENCE {
            return Err("a workspace does not get its agent".into());
        }
        sleep(POLL).await;
    }
}

/// Links these agents, and waits until the daemon says that they are there.
async fn link(address: SocketAddr, token: &str, agents: &[(String, String)]) -> Result<Links> {
    let mut far_ends = JoinSet::new();
    for (_, secret) in agents {
        let mut request =
            format!("ws://{address}/api/v2/workspaceagents/me/link?name=idle&os=none&arch=none")
                .into_client_request()?;
        request.headers_mut().insert(AUTHORIZATION, format!("Bearer {secret}").parse()?);
        let (socket, _) = client_async(request, TcpStream::connect(address).await?).await?;
        far_ends.spawn(far_end(socket));
    }
    let mut http = Client::connect(address, token).await?;
    for (workspace, _) in agents {
        agent(&mut http, workspace, |agent| agent.status == "connected").await?;
    }
    Ok(Links { far_ends })
}

/// An HTTP/2 server that is never asked. The WebSocket's pings are answered by its library.
async fn far_end(mut socket: WebSocketStream<TcpStream>) -> Result<()> {
    socket.send(Message::binary(SETTINGS[0].to_vec())).await?;
    let mut greeted = false;
    while let Some(message) = socket.next().await {
        if message?.is_binary() && !greeted {
            greeted = true;
            socket.send(Message::binary(SETTINGS[1].to_vec())).await?;
        }
    }
    Ok(())
}
