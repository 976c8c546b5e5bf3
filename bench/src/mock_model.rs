//! A Chat Completions server that says nothing in 50 deltas, each the time at which it was sent.
//!
//! `PUT /pace/MICROS` sets the time between deltas of later answers, `PUT /gate` holds answers after
//! their first bytes until the next pace is set, `GET /stats` tells `{"requests":N,"active":N}`.

use crate::{Result, clock::mono, http::Connection};
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep_until},
};

/// Deltas of an answer.
pub const DELTAS: usize = 50;
/// Marks the time at which the request had been read; before the first delta's own time.
pub const ARRIVAL: char = '@';

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pace(Duration),
    Gate,
}

struct Model {
    mode: watch::Sender<Mode>,
    requests: AtomicU64,
    active: AtomicU64,
}

struct Active<'a>(&'a AtomicU64);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves for ever; says where on stdout.
pub async fn serve(pace: Duration) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let model = Arc::new(Model {
        mode: watch::Sender::new(Mode::Pace(pace)),
        requests: AtomicU64::new(0),
        active: AtomicU64::new(0),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let model = Arc::clone(&model);
        tokio::spawn(async move {
            // A client may leave in the middle of an answer, at the end of a benchmark for one.
            if let Err(e) = model.connection(stream).await {
                eprintln!("mock model: {e}");
            }
        });
    }
}

impl Model {
    async fn connection(&self, stream: TcpStream) -> Result<()> {
        let mut connection = Connection::new(stream)?;
        while let Some(request) = connection.request().await? {
            let arrival = mono();
            if request.method == "POST" && request.path.ends_with("/chat/completions") {
                // Not parsed as a whole: history is long, and what it says changes nothing here.
                if !request.body.windows(13).any(|w| w == b"\"stream\":true") {
                    return Err("a request that does not ask for a stream".into());
                }
                // The title of a new chat is asked for beside its turn, and is not measured.
                if request.body.windows(15).any(|w| w == b"\"propose_title\"") {
                    connection.write(TITLE.as_bytes()).await?;
                    continue;
                }
                self.requests.fetch_add(1, Ordering::Relaxed);
                self.active.fetch_add(1, Ordering::Relaxed);
                let _active = Active(&self.active);
                self.answer(&mut connection, arrival).await?;
            } else {
                let body = self.control(&request.method, &request.path);
                let (status, body) = body.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                connection.write(head.as_bytes()).await?;
            }
        }
        Ok(())
    }

    fn control(&self, method: &str, path: &str) -> Option<String> {
        match (method, path) {
            ("GET", "/stats") => {
                let (requests, active) =
                    (self.requests.load(Ordering::Relaxed), self.active.load(Ordering::Relaxed));
                return Some(format!("{{\"requests\":{requests},\"active\":{active}}}"));
            }
            ("PUT", "/gate") => {
                self.mode.send_replace(Mode::Gate);
            }
            ("PUT", _) => {
                let micros = path.strip_prefix("/pace/")?.parse().ok()?;
                self.mode.send_replace(Mode::Pace(Duration::from_micros(micros)));
            }
            _ => return None,
        }
        Some(String::new())
    }

    async fn answer(&self, connection: &mut Connection, arrival: u64) -> Result<()> {
        let mut out = String::with_capacity(512);
        out.push_str(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        event(&mut out, r#"{"role":"assistant","content":""}"#, "null", "");
        connection.write(out.as_bytes()).await?;
        let mode = *self.mode.borrow();
        let pace = match mode {
            Mode::Pace(pace) => pace,
            Mode::Gate => {
                let mut changed = self.mode.subscribe();
                tokio::select! {
                    next = changed.wait_for(|mode| *mode != Mode::Gate) => drop(next?),
                    more = connection.fill() => {
                        more?;
                        return Err("the client left at the gate".into());
                    }
                }
                Duration::ZERO
            }
        };
        let start = Instant::now();
        let mut text = String::with_capacity(64);
        for n in 0..DELTAS {
            // A sleep that is over still ends at the timer's next millisecond.
            if n > 0 && !pace.is_zero() {
                sleep_until(start + pace * u32::try_from(n)?).await;
            }
            out.clear();
            text.clear();
            text.push_str(r#"{"content":""#);
            if n == 0 {
                write!(text, "{ARRIVAL}{arrival} ")?;
            }
            write!(text, r#"{} "}}"#, mono())?;
            event(&mut out, &text, "null", "");
            connection.write(out.as_bytes()).await?;
        }
        out.clear();
        event(&mut out, "{}", r#""stop""#, "");
        let usage = r#","usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150}"#;
        chunk(&mut out, &format!("{PREFIX}[]{usage}}}"));
        chunk(&mut out, "[DONE]");
        out.push_str("0\r\n\r\n");
        connection.write(out.as_bytes()).await
    }
}

/// A refusal that is final: the chat keeps its first title.
pub const TITLE: &str =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

const PREFIX: &str =
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"mock","choices":"#;

/// One event with one choice.
pub fn event(out: &mut String, delta: &str, finish: &str, tail: &str) {
    let json = format!(r#"{PREFIX}[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]{tail}}}"#);
    chunk(out, &json);
}

/// One event as one chunk, as providers send it.
pub fn chunk(out: &mut String, data: &str) {
    let length = "data: ".len() + data.len() + 2;
    write!(out, "{length:x}\r\ndata: {data}\n\n\r\n").expect("a String takes everything");
}
