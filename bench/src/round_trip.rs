//! What a request to a workspace's agent takes, beside a bare HTTP request that brings the same bytes.
//!
//! The daemon's own figure is used, `chatd_agent_request_seconds` of `/metrics`: from the tool that asks to the whole answer,
//! by way of the link and a real `chatd agent` that reads the file. Between two reads lie a step of a turn and its commit, so
//! whoever answers is asleep, and what he needs is in no cache of the processor any more. For the bare request this has to be so
//! as well: the model makes it between two reads, before it answers, when the daemon has done its step and waits. A second
//! floor is the same request as often, with nothing else going on: there the caches are warm. Beside both stands a request with a
//! connection of its own, as a lone request has one.

use crate::{
    PATIENCE, Result,
    http::{Client, Connection},
    mock_model::{TITLE, chunk, event},
    process::{Daemon, Server},
};
use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, client::conn::http1::SendRequest, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::JoinHandle,
    time::{Instant, sleep},
};

const TEMPLATE: &str = "[[templates]]\nname = \"box\"\nkind = \"local\"\n";
/// Reads of a turn. Their results are in its prompts.
const READS: usize = 100;
/// Lines of the file, each of [`LINE`].
const LINES: usize = 40;
const LINE: &str = "    let answer = ask(&daemon, path).await?; // as source text is";
/// How often somebody is asked who tells nobody of a change.
const POLL: Duration = Duration::from_millis(20);

/// Options of `chatd-bench round-trip`.
#[derive(Args)]
pub struct Options {
    /// The program to measure.
    #[arg(long)]
    chatd: PathBuf,
}

/// Mean times in microseconds.
pub struct Times {
    /// A bare request on an open connection, between the reads.
    pub bare: f64,
    /// One that opens its connection, between the reads.
    pub lone: f64,
    /// One on an open connection, with nothing else going on.
    pub warm: f64,
    pub link: f64,
}

/// `chatd-bench round-trip`.
pub async fn command(options: &Options) -> Result<()> {
    let home = tempfile::Builder::new().prefix("chatd-bench-").tempdir()?;
    for Times { bare, lone, warm, link } in measure(&options.chatd, home.path(), 3).await? {
        println!(
            "read_file through the link {link:.0} us; bare between the reads {bare:.0} us ({:.2} x), with its connection \
             {lone:.0} us ({:.2} x), with nothing else going on {warm:.0} us ({:.2} x)",
            link / bare,
            link / lone,
            link / warm
        );
    }
    Ok(())
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
struct Workspace {
    agents: Vec<Agent>,
}

#[derive(Deserialize)]
struct Agent {
    status: String,
    directory: String,
}

#[derive(Deserialize)]
struct Chat {
    status: String,
}

/// So many measurements of a daemon of its own.
pub async fn measure(program: &Path, home: &Path, times: usize) -> Result<Vec<Times>> {
    let program = std::path::absolute(program)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let model = Arc::new(Model::default());
    let daemon = Daemon {
        program: &program,
        home: home.join("round-trip"),
        postgres: None,
        model: listener.local_addr()?,
        coalesce: None,
        server: "",
        limits: "",
        worker: TEMPLATE,
    };
    let answering = tokio::spawn(Arc::clone(&model).serve(listener));
    let (server, token) = daemon.start().await?;
    let floor = Server::own(home, &["bare-http"]).await?;
    let measured = rounds(&server, &token, &floor, &model, times).await;
    answering.abort();
    floor.stop().await?;
    server.stop().await?;
    measured
}

async fn rounds(
    server: &Server,
    token: &str,
    floor: &Server,
    model: &Model,
    times: usize,
) -> Result<Vec<Times>> {
    let mut http = Client::connect(server.address, token).await?;
    let (workspace, folder) = workspace(&mut http).await?;
    let file = format!("{folder}/source.rs");
    std::fs::write(&file, text())?;
    model.file.set(file).map_err(|_| "there is a file already")?;
    let me = http.expect(200, "GET", "/api/v2/users/me", "").await?;
    let me: serde_json::Value = serde_json::from_slice(&me)?;
    let body = json!({
        "organization_id": me["organization_ids"][0],
        "workspace_id": workspace,
        "content": [{ "type": "text", "text": "Read." }],
    });
    let made = http.expect(201, "POST", "/api/experimental/chats", &body.to_string()).await?;
    let chat = serde_json::from_slice::<Named>(&made)?.id;
    settled(&mut http, &chat).await?;
    let mut measured = Vec::new();
    for _ in 0..times {
        *model.bare.lock().await = Some(Bare::open(floor.address).await?);
        let before = figures(&mut http).await?;
        let begin = Instant::now();
        let more = json!({ "content": [{ "type": "text", "text": "Again." }] });
        let path = format!("/api/experimental/chats/{chat}/messages");
        http.expect(200, "POST", &path, &more.to_string()).await?;
        settled(&mut http, &chat).await?;
        let gap = begin.elapsed() / u32::try_from(READS)?;
        let after = figures(&mut http).await?;
        let count = after.1 - before.1;
        if (count - READS as f64).abs() > 0.5 {
            return Err(format!("{count} reads instead of {READS}").into());
        }
        let link = (after.0 - before.0) / count * 1e6;
        let between = model.bare.lock().await.take().ok_or("nobody has asked")?;
        let mut alone = Bare::open(floor.address).await?;
        for _ in 0..READS {
            sleep(gap).await;
            alone.on_the_open_one().await?;
        }
        let [bare, lone] = between.means()?;
        measured.push(Times { bare, lone, warm: mean(&alone.open)?, link });
    }
    Ok(measured)
}

/// A workspace whose agent is there, and its folder.
async fn workspace(http: &mut Client) -> Result<(String, String)> {
    let all: Vec<Named> = serde_json::from_slice(&http.expect(200, "GET", "/api/v2/templates", "").await?)?;
    let template = all.into_iter().next().ok_or("the template is not declared")?.id;
    let body = json!({ "name": "box", "template_id": template }).to_string();
    let made = http.expect(201, "POST", "/api/v2/workspaces", &body).await?;
    let id = serde_json::from_slice::<Named>(&made)?.id;
    let begin = Instant::now();
    loop {
        let now = http.expect(200, "GET", &format!("/api/v2/workspaces/{id}"), "").await?;
        let now: Workspace = serde_json::from_slice(&now)?;
        if let Some(agent) = now.agents.into_iter().find(|agent| agent.status == "connected") {
            return Ok((id, agent.directory));
        }
        if begin.elapsed() > PATIENCE {
            return Err("the agent does not link".into());
        }
        sleep(POLL).await;
    }
}

/// Waits for the end of a turn.
async fn settled(http: &mut Client, chat: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        let now = http.expect(200, "GET", &format!("/api/experimental/chats/{chat}"), "").await?;
        match serde_json::from_slice::<Chat>(&now)?.status.as_str() {
            "waiting" => return Ok(()),
            "error" => return Err("a turn has failed".into()),
            _ if begin.elapsed() > PATIENCE => return Err("a turn does not end".into()),
            _ => sleep(POLL).await,
        }
    }
}

/// Seconds and number of the reads so far.
async fn figures(http: &mut Client) -> Result<(f64, f64)> {
    let page = String::from_utf8(http.expect(200, "GET", "/metrics", "").await?)?;
    let figure = |kind: &str| {
        let name = format!("chatd_agent_request_seconds_{kind}{{request=\"read_lines\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(Ok(0.0), str::parse::<f64>)
    };
    Ok((figure("sum")?, figure("count")?))
}

fn text() -> String {
    format!("{LINE}\n").repeat(LINES)
}

/// What the agent answers for the file.
fn answer() -> Bytes {
    let lines: Vec<String> = (1..=LINES).map(|n| format!("{n}\t{LINE}")).collect();
    let body = json!({
        "success": true, "file_size": text().len(), "total_lines": LINES, "lines_read": LINES, "content": lines.join("\n"),
    });
    Bytes::from(body.to_string())
}

/// `chatd-bench bare-http`: serves these bytes for ever, by the HTTP library of chatd.
pub async fn serve_bare() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let answer = answer();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            let answer = answer.clone();
            async move { Ok::<_, Infallible>(Response::new(Full::new(answer))) }
        });
        let serving =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Err(e) = serving.await {
                eprintln!("bare HTTP: {e}");
            }
        });
    }
}

/// A bare connection, and what carries it.
async fn open(address: SocketAddr) -> Result<(SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    Ok((sender, tokio::spawn(connection)))
}

async fn ask(sender: &mut SendRequest<Full<Bytes>>) -> Result<Bytes> {
    let request = Request::get("/api/v0/read-file-lines?path=%2Fsource.rs")
        .header("host", "agent")
        .body(Full::new(Bytes::new()))?;
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    Ok(http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes())
}

fn checked(body: &Bytes) -> Result<()> {
    if *body == answer() { Ok(()) } else { Err("the bare server answers something else".into()) }
}

/// Bare requests and what they took.
struct Bare {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    carrying: JoinHandle<hyper::Result<()>>,
    open: Vec<Duration>,
    lone: Vec<Duration>,
}

impl Bare {
    async fn open(address: SocketAddr) -> Result<Self> {
        let (sender, carrying) = open(address).await?;
        Ok(Self { address, sender, carrying, open: Vec::new(), lone: Vec::new() })
    }

    /// On the open connection and on one of its own in turns: the one would warm the caches for the other.
    async fn in_turns(&mut self) -> Result<()> {
        if self.open.len() <= self.lone.len() {
            self.on_the_open_one().await
        } else {
            self.on_its_own().await
        }
    }

    async fn on_the_open_one(&mut self) -> Result<()> {
        let begin = Instant::now();
        let body = ask(&mut self.sender).await?;
        self.open.push(begin.elapsed());
        checked(&body)
    }

    async fn on_its_own(&mut self) -> Result<()> {
        let begin = Instant::now();
        let (mut sender, carrying) = open(self.address).await?;
        let body = ask(&mut sender).await?;
        self.lone.push(begin.elapsed());
        carrying.abort();
        checked(&body)
    }

    fn means(&self) -> Result<[f64; 2]> {
        Ok([mean(&self.open)?, mean(&self.lone)?])
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

/// In microseconds.
fn mean(times: &[Duration]) -> Result<f64> {
    let count = u32::try_from(times.len())?;
    let sum = times.iter().sum::<Duration>().checked_div(count).ok_or("nothing was measured")?;
    Ok(sum.as_secs_f64() * 1e6)
}

/// A model that reads the file again and again, and then has done.
#[derive(Default)]
struct Model {
    /// What it reads.
    file: OnceLock<String>,
    asked: AtomicUsize,
    /// Asked before each answer that reads.
    bare: Mutex<Option<Bare>>,
}

impl Model {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut clients: Vec<JoinHandle<()>> = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            let model = Arc::clone(&self);
            clients.push(tokio::spawn(async move {
                if let Err(e) = model.connection(stream).await {
                    eprintln!("model: {e}");
                }
            }));
        }
    }

    async fn connection(&self, stream: TcpStream) -> Result<()> {
        let mut connection = Connection::new(stream)?;
        while let Some(request) = connection.request().await? {
            if request.body.windows(15).any(|w| w == b"\"propose_title\"") {
                connection.write(TITLE.as_bytes()).await?;
                continue;
            }
            let mut out = String::from(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            let file = self.file.get().ok_or("there is nothing to read yet")?;
            // A turn asks once more than it reads.
            match self.asked.fetch_add(1, Ordering::Relaxed) % (READS + 1) {
                asked if asked < READS => {
                    if let Some(bare) = &mut *self.bare.lock().await {
                        bare.in_turns().await?;
                    }
                    let arguments = json!({ "path": file }).to_string();
                    let call = json!({ "role": "assistant", "tool_calls": [{
                        "index": 0, "id": format!("call_{asked}"), "type": "function",
                        "function": { "name": "read_file", "arguments": arguments },
                    }]});
                    event(&mut out, &call.to_string(), "null", "");
                    event(&mut out, "{}", r#""tool_calls""#, "");
                }
                _ => {
                    event(&mut out, r#"{"role":"assistant","content":"Done."}"#, "null", "");
                    event(&mut out, "{}", r#""stop""#, "");
                }
            }
            chunk(&mut out, "[DONE]");
            out.push_str("0\r\n\r\n");
            connection.write(out.as_bytes()).await?;
        }
        Ok(())
    }
}
