//! `chatd chat`: a chat in the terminal, with a daemon that runs already. It is a client like any other: what happens goes
//! on when it leaves.

pub mod client;
pub mod view;

use super::{Exit, Failure, Options, Outcome, daemon, output};
use crate::config::{Config, server::local_url};
use clap::Args;
use client::{CallError, Client, Stream};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind},
    sync::mpsc,
};
use view::{Standing, View};

/// Where the daemon is, as agents have it too.
const ENV_URL: &str = "CHATD_URL";
/// In the environment other users of the machine do not see it.
const ENV_TOKEN: &str = "CHATD_TOKEN";

/// How long somebody who leaves waits until the daemon has heard that the turn is to end.
const LEAVING: Duration = Duration::from_secs(3);

/// Arguments of `chatd chat`.
#[derive(Debug, Clone, Args)]
pub struct ChatArgs {
    /// What to say; without it, lines are read from the terminal, or all of standard input is said
    #[arg(value_name = "PROMPT")]
    pub prompt: Option<String>,
    /// Go on with this chat instead of beginning one
    #[arg(long, value_name = "ID")]
    pub chat: Option<uuid::Uuid>,
    /// Address of the daemon [default: $CHATD_URL, or the one of the configuration]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// API token [default: $CHATD_TOKEN, or the first user's in data_dir when the daemon is on this host]
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Print the text of the answer only
    #[arg(long, short)]
    pub quiet: bool,
}

/// Says something and shows what comes of it.
///
/// # Errors
/// Status 1 when the turn fails or the daemon cannot be asked, 2 when there is nothing to say or no token, 78 when the
/// configuration is not valid.
pub fn run(args: &ChatArgs, options: &Options) -> Outcome {
    let client = connect(args, options)?;
    let said = match &args.prompt {
        Some(prompt) => Some(prompt.clone()),
        None if io::stdin().is_terminal() => None,
        None => {
            let mut all = String::new();
            let read = io::stdin().lock().read_to_string(&mut all);
            read.map_err(|e| Failure::failed(format!("standard input cannot be read: {e}")))?;
            Some(all)
        }
    };
    if said.as_ref().is_some_and(|said| said.trim().is_empty()) {
        return Err(Failure::new(Exit::Usage, "there is nothing to say; give a PROMPT"));
    }
    let runtime = daemon::runtime()?;
    let ended = runtime.block_on(async {
        let mut talk = Talk::begin(client, args).await?;
        match said {
            Some(prompt) => talk.once(&prompt).await,
            None => talk.on_a_terminal().await,
        }
    });
    // A line that nobody types is not waited for.
    runtime.shutdown_background();
    ended
}

/// The daemon that is meant.
fn connect(args: &ChatArgs, options: &Options) -> Result<Client, Failure> {
    let given = |flag: &Option<String>, variable: &str| {
        let value = flag.clone().or_else(|| std::env::var(variable).ok());
        value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let (url, token) = (given(&args.url, ENV_URL), given(&args.token, ENV_TOKEN));
    if let (Some(url), Some(token)) = (&url, &token) {
        return Client::new(url, token.clone());
    }
    let config = options.load()?.config;
    let url = url.unwrap_or_else(|| local_url(config.server.listen));
    let token = token.map_or_else(|| own_token(&config, &url), Ok)?;
    Client::new(&url, token)
}

/// The first user's token, for a daemon on this host: it is nobody else's business.
fn own_token(config: &Config, url: &str) -> Result<String, Failure> {
    let usage = |why: String| {
        Failure::new(
            Exit::Usage,
            format!("{why}; give --token or set {ENV_TOKEN} (`chatd token create --user NAME` makes one)"),
        )
    };
    if !client::is_local(url) {
        return Err(usage("there is no token for a daemon elsewhere".into()));
    }
    let file = config.data_dir.join("token");
    match std::fs::read_to_string(&file) {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(e) => Err(usage(format!("the token in {} cannot be read ({e})", file.display()))),
    }
}

/// A chat that is talked in.
struct Talk {
    client: Client,
    /// Once there is one.
    chat: Option<String>,
    stream: Option<Stream>,
    view: View,
    quiet: bool,
    interrupt: Signal,
    terminate: Signal,
    /// The turn was told to stop from here.
    interrupted: bool,
}

/// What happens while nobody is asked anything.
enum Happening {
    Events(Vec<Value>),
    Line(Option<String>),
    Interrupt,
    Terminate,
}

impl Talk {
    async fn begin(client: Client, args: &ChatArgs) -> Result<Self, Failure> {
        let mut talk = Self {
            client,
            chat: args.chat.map(|id| id.to_string()),
            stream: None,
            view: View::new(args.quiet, None),
            quiet: args.quiet,
            interrupt: daemon::on(SignalKind::interrupt())?,
            terminate: daemon::on(SignalKind::terminate())?,
            interrupted: false,
        };
        if let Some(chat) = talk.chat.clone() {
            let page = talk.client.get(&format!("/api/experimental/chats/{chat}/messages?limit=1")).await?;
            let newest = page["messages"][0]["id"].as_i64();
            talk.view = View::new(args.quiet, newest);
            talk.stream = Some(talk.client.stream(&chat, newest));
        }
        Ok(talk)
    }

    /// Says it and follows until its turn is over.
    async fn once(&mut self, prompt: &str) -> Outcome {
        let new = self.chat.is_none();
        if let Some(exit) = self.say(prompt).await? {
            return Ok(exit);
        }
        let ended = self.follow().await;
        // Also when it failed: the chat is there.
        if new {
            self.how_to_go_on();
        }
        ended
    }

    /// Shows what comes until the turn is over.
    async fn follow(&mut self) -> Outcome {
        loop {
            match self.happens(None).await? {
                Happening::Events(events) => {
                    self.show(&events)?;
                    match self.view.standing() {
                        Standing::Running => {}
                        _ if self.interrupted => return Ok(Exit::Interrupted),
                        Standing::Done => return Ok(Exit::Done),
                        Standing::Failed(why) => return Err(Failure::failed(why.trim_end_matches('.'))),
                        Standing::Asks(tools) => return Err(Failure::failed(asked(&tools))),
                    }
                }
                Happening::Interrupt => {
                    if let Some(exit) = self.stop().await? {
                        return Ok(exit);
                    }
                }
                Happening::Terminate => return Ok(Exit::Terminated),
                Happening::Line(_) => {}
            }
        }
    }

    /// Says what is typed until there is no more of it.
    async fn on_a_terminal(&mut self) -> Outcome {
        let mut lines = typed();
        let new = self.chat.is_none();
        output::note("Type what you want to say. Ctrl-C interrupts a turn, twice leaves; Ctrl-D ends.");
        let mut leaving = false;
        let mut asking = self.stream.is_none();
        if asking {
            self.ask();
        }
        let exit = loop {
            match self.happens(Some(&mut lines)).await? {
                Happening::Events(events) => {
                    self.show(&events)?;
                    let standing = self.view.standing();
                    if standing == Standing::Running {
                        asking = false;
                    } else if !asking {
                        self.interrupted = false;
                        match standing {
                            Standing::Failed(why) => output::note(format_args!("chatd: {why}")),
                            Standing::Asks(tools) => output::note(format_args!("chatd: {}", asked(&tools))),
                            _ => {}
                        }
                        asking = true;
                        self.ask();
                    }
                }
                Happening::Line(None) => break Exit::Done,
                Happening::Line(Some(line)) => {
                    leaving = false;
                    if line.trim().is_empty() {
                        if asking {
                            self.ask();
                        }
                        continue;
                    }
                    asking = false;
                    match self.say(&line).await {
                        Ok(None) => {}
                        Ok(Some(exit)) => break exit,
                        // What was typed is still on the screen.
                        Err(why) => {
                            output::note(format_args!("chatd: {why}"));
                            asking = true;
                            self.ask();
                        }
                    }
                }
                Happening::Interrupt if asking && leaving => break Exit::Interrupted,
                Happening::Interrupt if asking => {
                    leaving = true;
                    output::note("\nCtrl-C once more leaves, and so does Ctrl-D.");
                    self.ask();
                }
                Happening::Interrupt => {
                    if let Some(exit) = self.stop().await? {
                        break exit;
                    }
                }
                Happening::Terminate => break Exit::Terminated,
            }
        };
        if new && self.chat.is_some() {
            self.how_to_go_on();
        }
        Ok(exit)
    }

    async fn happens(&mut self, lines: Option<&mut mpsc::Receiver<String>>) -> Result<Happening, Failure> {
        let newest = self.view.newest();
        let stream = &mut self.stream;
        let events = async {
            match stream {
                Some(stream) => stream.next(newest).await,
                None => std::future::pending().await,
            }
        };
        let line = async {
            match lines {
                Some(lines) => lines.recv().await,
                None => std::future::pending().await,
            }
        };
        Ok(tokio::select! {
            events = events => Happening::Events(events?),
            line = line => Happening::Line(line),
            _ = self.interrupt.recv() => Happening::Interrupt,
            _ = self.terminate.recv() => Happening::Terminate,
        })
    }

    /// Sends what was said. `Some`: a signal came first.
    async fn say(&mut self, text: &str) -> Result<Option<Exit>, Failure> {
        let content = json!([{ "type": "text", "text": text }]);
        let (client, chat) = (self.client.clone(), self.chat.clone());
        let sending = async {
            match chat {
                Some(chat) => {
                    let path = format!("/api/experimental/chats/{chat}/messages");
                    let answer = client.post(&path, Some(&json!({ "content": content }))).await?;
                    Ok((chat, answer))
                }
                None => {
                    let organizations = client.get("/api/v2/users/me/organizations").await?;
                    let body = json!({ "organization_id": organizations[0]["id"], "content": content });
                    let made = client.post("/api/experimental/chats", Some(&body)).await?;
                    Ok::<_, CallError>((made["id"].as_str().unwrap_or_default().to_owned(), made))
                }
            }
        };
        let (chat, answer) = tokio::select! {
            sent = sending => sent?,
            _ = self.interrupt.recv() => return Ok(Some(Exit::Interrupted)),
            _ = self.terminate.recv() => return Ok(Some(Exit::Terminated)),
        };
        self.view.sent(text, &answer);
        self.interrupted = false;
        if answer["queued"] == true && !self.quiet {
            output::note("(it is queued; its turn comes when this one is over)");
        }
        if self.stream.is_none() {
            self.stream = Some(self.client.stream(&chat, None));
        }
        self.chat = Some(chat);
        Ok(None)
    }

    /// Ends the turn; whoever does not want to wait for that leaves. `Some`: leave.
    async fn stop(&mut self) -> Result<Option<Exit>, Failure> {
        if self.interrupted {
            return Ok(Some(Exit::Interrupted));
        }
        let Some(chat) = &self.chat else { return Ok(Some(Exit::Interrupted)) };
        output::note("\n(interrupting; Ctrl-C once more leaves)");
        self.interrupted = true;
        let path = format!("/api/experimental/chats/{chat}/interrupt");
        let mut sending = std::pin::pin!(self.client.post(&path, None));
        let leaving = tokio::select! {
            answer = &mut sending => Err(answer),
            _ = self.interrupt.recv() => Ok(Exit::Interrupted),
            _ = self.terminate.recv() => Ok(Exit::Terminated),
        };
        let answer = match leaving {
            Err(answer) => answer,
            Ok(exit) => {
                // Whoever is in a hurry wants the turn to end all the same.
                return match tokio::time::timeout(LEAVING, sending).await {
                    Ok(Err(e)) if !is_over(&e) => Err(e.into()),
                    Ok(_) => Ok(Some(exit)),
                    Err(_) => {
                        Err(Failure::failed("the daemon did not say in time whether the turn is interrupted"))
                    }
                };
            }
        };
        match answer {
            Err(e) if !is_over(&e) => Err(e.into()),
            _ => Ok(None),
        }
    }

    fn show(&mut self, events: &[Value]) -> Result<(), Failure> {
        for event in events {
            let printed = self.view.on(event);
            if !printed.said.is_empty() {
                output::data(printed.said.as_bytes())?;
            }
            for note in printed.noted {
                output::note(format_args!("({note})"));
            }
        }
        Ok(())
    }

    /// Shows that a line may be typed.
    fn ask(&self) {
        // Where stderr is gone nobody sees it either.
        let mut stderr = io::stderr().lock();
        drop(write!(stderr, "> ").and_then(|()| stderr.flush()));
    }

    fn how_to_go_on(&self) {
        if let Some(chat) = &self.chat
            && !self.quiet
        {
            output::note(format_args!("Go on with it: chatd chat --chat {chat}"));
        }
    }
}

/// Whether a turn could not be interrupted because it was over by itself.
const fn is_over(error: &CallError) -> bool {
    matches!(error, CallError::Refused { status: StatusCode::CONFLICT, .. })
}

fn asked(tools: &[String]) -> String {
    let tools = tools.join(", ");
    format!(
        "the chat waits for results of tools that its own client runs ({tools}); it goes on when that client sends them"
    )
}

/// The lines that are typed, until their end.
fn typed() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    // A thread of its own: it cannot be told to stop reading, and ends with the process.
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
