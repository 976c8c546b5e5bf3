//! `chatd demo`: a throw-away daemon that runs one real turn, watched by a real client.

use super::{Exit, Failure, Options, Outcome, daemon, output};
use crate::{
    app,
    clock::Clock,
    config::{Config, log::Log},
    ids::fresh_uuid,
    logging,
};
use clap::Args;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::{
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::signal::unix::SignalKind;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

/// Arguments of `chatd demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Leave the daemon running after the turn
    #[arg(long)]
    pub keep: bool,
}

/// What the demonstration asks for; the built-in script knows the word "demo".
const PROMPT: &str =
    "Give me a demo: make a workspace, write a small script in it, run it, and tell me what it printed.";

/// Longest time the turn may take; it takes about four seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the demonstration.
///
/// # Errors
/// When the daemon cannot start or the turn does not end as it should.
pub fn run(args: &DemoArgs, options: &Options) -> Outcome {
    logging::init(&Log { filter: "warn".into(), ..Log::default() })
        .map_err(|e| Failure::new(Exit::Config, e.to_string()))?;
    let folder = match &options.data_dir {
        Some(dir) => PathBuf::from(dir),
        None => temporary_folder()?,
    };
    let mut config = Config { data_dir: folder.clone(), ..Config::default() };
    config.server.listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    config.server.shutdown_grace = Duration::from_secs(2);
    if let Some(listen) = &options.listen {
        config.server.listen = listen
            .parse()
            .map_err(|_| Failure::new(Exit::Usage, format!("--listen {listen:?} is no address and port")))?;
    }
    daemon::runtime()?.block_on(async {
        let mut terminate = daemon::on(SignalKind::terminate())?;
        let mut interrupt = daemon::on(SignalKind::interrupt())?;
        let running = app::start(config, Clock::system()).await?;
        let turn = async {
            let shown = show(&running.local_url(), &folder, args.keep).await;
            if shown.is_ok() {
                next_steps(&running.local_url(), &folder, args.keep);
            }
            if args.keep && shown.is_ok() {
                std::future::pending::<()>().await;
            }
            shown
        };
        let outcome = tokio::select! {
            shown = turn => shown.map(|()| Exit::Done),
            _ = interrupt.recv() => Ok(ended(Exit::Interrupted, &folder)),
            _ = terminate.recv() => Ok(ended(Exit::Terminated, &folder)),
        };
        tokio::select! {
            () = running.stop() => outcome,
            _ = interrupt.recv() => std::process::exit(i32::from(Exit::Interrupted as u8)),
            _ = terminate.recv() => std::process::exit(i32::from(Exit::Terminated as u8)),
        }
    })
}

fn ended(exit: Exit, folder: &Path) -> Exit {
    output::note(format_args!(
        "\nInterrupted. Nothing is lost; go on with: chatd serve --data-dir {}",
        folder.display()
    ));
    exit
}

/// A folder that nobody else can have made before: what runs in it has the rights of the user.
fn temporary_folder() -> Result<PathBuf, Failure> {
    let folder = std::env::temp_dir().join(format!("chatd-demo-{}", fresh_uuid().simple()));
    std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(|e| {
        Failure::failed(format!("cannot make {}: {e}; name a folder with --data-dir", folder.display()))
    })?;
    Ok(folder)
}

fn say(text: &str) -> Result<(), Failure> {
    output::data(text.as_bytes()).map(|_| ())
}

fn wrong(what: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the demonstration failed: {what}"))
}

/// A client of the daemon.
struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    /// Sends a request, with a body if there is one, and reads the answer.
    async fn ask(&self, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.url);
        let request = match body {
            Some(body) => self.http.post(url).body(body.to_string()),
            None => self.http.get(url),
        };
        let sent = request.header("Coder-Session-Token", &self.token).send().await;
        let answer = sent.and_then(reqwest::Response::error_for_status).map_err(wrong)?;
        serde_json::from_slice(&answer.bytes().await.map_err(wrong)?).map_err(wrong)
    }

    /// Stops the workspace of the chat, so that nothing runs on when the demonstration is over.
    async fn stop_workspace(&self, chat: &str) -> Result<(), Failure> {
        let chat = self.ask(&format!("/api/experimental/chats/{chat}"), None).await?;
        let Some(workspace) = chat["workspace_id"].as_str() else { return Ok(()) };
        let path = format!("/api/v2/workspaces/{workspace}");
        self.ask(&format!("{path}/builds"), Some(json!({ "transition": "stop" }))).await?;
        loop {
            let now = self.ask(&path, None).await?;
            match now["latest_build"]["status"].as_str().unwrap_or_default() {
                "pending" | "running" => tokio::time::sleep(Duration::from_millis(50)).await,
                "succeeded" => return Ok(()),
                other => return Err(wrong(format_args!("the workspace could not be stopped: {other}"))),
            }
        }
    }
}

/// Creates a chat over HTTP and follows it over WebSocket until its turn is over; unless it is to go on, its workspace is
/// stopped then.
async fn show(url: &str, folder: &Path, keep: bool) -> Result<(), Failure> {
    let token = std::fs::read_to_string(folder.join("token")).map_err(wrong)?.trim().to_owned();
    crate::turn::engine::client().map_err(wrong)?;
    let http = reqwest::Client::builder().no_proxy().build().map_err(wrong)?;
    let client = Client { http, url: url.to_owned(), token };
    let organizations = client.ask("/api/v2/users/me/organizations", None).await?;
    let body = json!({
        "organization_id": organizations[0]["id"],
        "content": [{ "type": "text", "text": PROMPT }],
    });
    let chat = client.ask("/api/experimental/chats", Some(body)).await?;
    let id = chat["id"].as_str().ok_or_else(|| wrong("the new chat has no id"))?.to_owned();
    say(&format!("chatd demo: a real daemon on {url}\n\nYou: {PROMPT}\n\n"))?;

    let mut request = format!("{}/api/experimental/chats/{id}/stream", url.replacen("http", "ws", 1))
        .into_client_request()
        .map_err(wrong)?;
    request.headers_mut().insert("Coder-Session-Token", client.token.parse().map_err(wrong)?);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.map_err(wrong)?;
    let mut view = View::default();
    let watch = async {
        while let Some(message) = socket.next().await {
            let Message::Text(text) = message.map_err(wrong)? else { continue };
            let events: Vec<Value> = serde_json::from_str(&text).map_err(wrong)?;
            for event in &events {
                if view.show(event)? {
                    return Ok(());
                }
            }
        }
        Err(wrong("the stream ended before the turn did"))
    };
    tokio::time::timeout(LIMIT, watch).await.map_err(|_| wrong("the turn took too long"))??;
    if keep {
        return Ok(());
    }
    tokio::time::timeout(LIMIT, client.stop_workspace(&id))
        .await
        .map_err(|_| wrong("the workspace did not stop"))?
}

/// What has been printed so far.
#[derive(Default)]
struct View {
    /// Kind of the part that is being printed: `text`, `reasoning`, or nothing.
    open: &'static str,
    started: bool,
}

impl View {
    /// Prints one event; true when the turn is over.
    fn show(&mut self, event: &Value) -> Result<bool, Failure> {
        match event["type"].as_str().unwrap_or_default() {
            "message_part" => self.part(&event["message_part"]["part"])?,
            "retry" => say(&format!("\n(retrying: {})\n", event["retry"]["error"]))?,
            "error" => return Err(wrong(&event["error"]["message"])),
            "status" => {
                let status = event["status"]["status"].as_str().unwrap_or_default();
                if status == "waiting" && self.started {
                    self.close()?;
                    return Ok(true);
                }
                self.started |= status == "running";
            }
            _ => {}
        }
        Ok(false)
    }

    fn part(&mut self, part: &Value) -> Result<(), Failure> {
        self.started = true;
        let text = part["text"].as_str().unwrap_or_default();
        match part["type"].as_str().unwrap_or_default() {
            "text" => {
                self.begin("text", "Agent: ")?;
                say(text)
            }
            "reasoning" if !text.is_empty() => {
                self.begin("reasoning", "(thinks) ")?;
                say(text)
            }
            "tool-call" if part.get("args").is_some() => {
                self.close()?;
                say(&format!("  → {} {}\n", part["tool_name"].as_str().unwrap_or_default(), part["args"]))
            }
            "tool-result" if part.get("result").is_some() => {
                self.close()?;
                say(&format!("  ← {}\n\n", part["result"]))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, kind: &'static str, label: &str) -> Result<(), Failure> {
        if self.open != kind {
            self.close()?;
            self.open = kind;
            say(label)?;
        }
        std::io::stdout().flush().map_err(wrong)
    }

    fn close(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.open).is_empty() { Ok(()) } else { say("\n\n") }
    }
}

fn next_steps(url: &str, folder: &Path, keep: bool) {
    output::note(
        "That was a whole turn: HTTP, state machine, model over a socket, an agent in a workspace, stream, database.",
    );
    output::note(format_args!("Its data lies in {} (delete it when you like).", folder.display()));
    if keep {
        output::note(format_args!(
            "The daemon goes on at {url}; Ctrl-C ends it. Its token: {}/token",
            folder.display()
        ));
    } else {
        output::note(format_args!("Go on with it:       chatd serve --data-dir {}", folder.display()));
        output::note("With a real model:   ANTHROPIC_API_KEY=… chatd serve     (or OPENAI_API_KEY=…)");
    }
}
