//! `chatd demo`: a throw-away daemon that runs one real turn, watched by a real client.

use super::{
    Exit, Failure, Options, Outcome,
    chat::{
        client::Client,
        view::{Standing, View},
    },
    daemon, output,
};
use crate::{
    app,
    clock::Clock,
    config::{Config, log::Log},
    ids::fresh_uuid,
    logging,
};
use clap::Args;
use serde_json::json;
use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::signal::unix::SignalKind;

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

/// Creates a chat over HTTP and follows it over WebSocket until its turn is over; unless it is to go on, its workspace is
/// stopped then.
async fn show(url: &str, folder: &Path, keep: bool) -> Result<(), Failure> {
    let token = std::fs::read_to_string(folder.join("token")).map_err(wrong)?.trim().to_owned();
    let client = Client::new(url, token)?;
    let organizations = client.get("/api/v2/users/me/organizations").await.map_err(wrong)?;
    let body = json!({
        "organization_id": organizations[0]["id"],
        "content": [{ "type": "text", "text": PROMPT }],
    });
    let chat = client.post("/api/experimental/chats", Some(&body)).await.map_err(wrong)?;
    let id = chat["id"].as_str().ok_or_else(|| wrong("the new chat has no id"))?.to_owned();
    say(&format!("chatd demo: a real daemon on {url}\n\nYou: {PROMPT}\n\n"))?;
    let mut view = View::new(false, None);
    view.sent(PROMPT, &chat);
    let mut stream = client.stream(&id, None);
    let watch = async {
        loop {
            for event in stream.next(view.newest()).await.map_err(wrong)? {
                let printed = view.on(&event);
                say(&printed.said)?;
                printed.noted.iter().for_each(|note| output::note(format_args!("({note})")));
            }
            match view.standing() {
                Standing::Running => {}
                Standing::Done => return Ok(()),
                Standing::Failed(why) => return Err(wrong(why)),
                Standing::Asks(_) => return Err(wrong("the chat waits for its client")),
            }
        }
    };
    tokio::time::timeout(LIMIT, watch).await.map_err(|_| wrong("the turn took too long"))??;
    if keep {
        return Ok(());
    }
    tokio::time::timeout(LIMIT, stop_workspace(&client, &id))
        .await
        .map_err(|_| wrong("the workspace did not stop"))?
}

/// Stops the workspace of the chat, so that nothing runs on when the demonstration is over.
async fn stop_workspace(client: &Client, chat: &str) -> Result<(), Failure> {
    let chat = client.get(&format!("/api/experimental/chats/{chat}")).await.map_err(wrong)?;
    let Some(workspace) = chat["workspace_id"].as_str() else { return Ok(()) };
    let path = format!("/api/v2/workspaces/{workspace}");
    let stop = json!({ "transition": "stop" });
    client.post(&format!("{path}/builds"), Some(&stop)).await.map_err(wrong)?;
    loop {
        let now = client.get(&path).await.map_err(wrong)?;
        match now["latest_build"]["status"].as_str().unwrap_or_default() {
            "pending" | "running" => tokio::time::sleep(Duration::from_millis(50)).await,
            "succeeded" => return Ok(()),
            other => return Err(wrong(format_args!("the workspace could not be stopped: {other}"))),
        }
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
