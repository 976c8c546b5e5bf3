//! What the fake model says: replies made of steps, and gates that hold a reply until a test is ready.

use super::{
    encode::{self, Encoder},
    http::{ClientClosed, Connection, body_bytes},
    request::RecordedRequest,
};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch;

/// A door in a reply. The reply waits in front of it until the test opens it.
#[derive(Debug, Clone)]
pub struct Gate {
    state: Arc<watch::Sender<(bool, bool)>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new((false, false))) }
    }

    /// Lets the reply go on, now and whenever it comes by again.
    pub fn open(&self) {
        self.state.send_modify(|(_, open)| *open = true);
    }

    /// Waits until a reply stands in front of the gate: everything before it has been sent.
    pub async fn reached(&self) {
        let mut state = self.state.subscribe();
        let seen = tokio::time::timeout(super::PATIENCE, state.wait_for(|(reached, _)| *reached));
        assert!(seen.await.is_ok(), "no reply came to the gate within {:?}", super::PATIENCE);
    }

    async fn pass(&self) {
        self.state.send_modify(|(reached, _)| *reached = true);
        let mut state = self.state.subscribe();
        drop(state.wait_for(|(_, open)| *open).await); // we hold a sender, so it cannot fail
    }
}

/// Token counts that a reply reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// Input tokens, cached ones not counted.
    pub input: i64,
    /// Output tokens, reasoning included.
    pub output: i64,
    /// Reasoning tokens.
    pub reasoning: i64,
    /// Input tokens read from the cache.
    pub cache_read: i64,
    /// Input tokens written to the cache (Anthropic only).
    pub cache_write: i64,
}

impl Tokens {
    /// Plain counts.
    pub fn new(input: i64, output: i64) -> Self {
        Self { input, output, reasoning: 0, cache_read: 0, cache_write: 0 }
    }
}

/// A tool call that a reply makes.
#[derive(Debug, Clone)]
pub struct Call {
    pub id: Option<String>,
    pub name: String,
    /// Pieces of the argument text.
    pub pieces: Vec<String>,
    /// Waited for before the last piece.
    pub gate: Option<Gate>,
}

#[derive(Debug, Clone)]
enum Step {
    Text(Vec<String>),
    Reasoning(Vec<String>),
    /// Parallel calls, their pieces interleaved where the format allows it.
    Calls(Vec<Call>),
    Gate(Gate),
    Raw(Vec<u8>),
    LongLine(usize),
    Silence,
    Cut,
}

#[derive(Debug, Clone)]
enum Head {
    Stream,
    Failure { status: u16, body: Value },
}

/// One scripted answer.
#[derive(Debug, Clone)]
pub struct Reply {
    head: Head,
    headers: Vec<(String, String)>,
    steps: Vec<Step>,
    tokens: Tokens,
    /// The format's own word; `None` for the one that fits the steps.
    reason: Option<String>,
    finish: bool,
    slices: Option<usize>,
}

/// A reply of text, sent in two pieces.
pub fn says(text: impl Into<String>) -> Reply {
    Reply::empty().says(text)
}

/// A reply of text in these pieces, each in an event and a write of its own.
pub fn says_in<S: Into<String>>(pieces: impl IntoIterator<Item = S>) -> Reply {
    Reply::empty().says_in(pieces)
}

/// A reply that begins with reasoning.
pub fn thinks(text: impl Into<String>) -> Reply {
    Reply::empty().thinks(text)
}

/// A reply that calls a tool.
pub fn calls(name: &str, args: Value) -> Reply {
    Reply::empty().calls(name, args)
}

/// An HTTP failure. A JSON string as body is sent as plain text, any other value as JSON.
pub fn fails(status: u16, body: Value) -> Reply {
    Reply { head: Head::Failure { status, body }, ..Reply::empty() }
}

/// Cuts a text in two in its middle.
fn halves(text: &str) -> Vec<String> {
    let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
    [&text[..middle], &text[middle..]]
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .map(str::to_owned)
        .collect()
}

impl Reply {
    /// A reply without content, which ends in order.
    pub fn empty() -> Self {
        Self {
            head: Head::Stream,
            headers: Vec::new(),
            steps: Vec::new(),
            tokens: Tokens::new(10, 5),
            reason: None,
            finish: true,
            slices: None,
        }
    }

    /// All that it says, if it is a whole answer without calls.
    pub(super) fn final_text(&self) -> Option<String> {
        let ends = self.finish && matches!(self.head, Head::Stream);
        if !ends || self.steps.iter().any(|step| matches!(step, Step::Calls(_) | Step::Cut | Step::Silence)) {
            return None;
        }
        let texts = self.steps.iter().filter_map(|step| match step {
            Step::Text(pieces) => Some(pieces.concat()),
            _ => None,
        });
        Some(texts.collect())
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Text in two pieces.
    pub fn says(self, text: impl Into<String>) -> Self {
        let pieces = halves(&text.into());
        self.step(Step::Text(pieces))
    }

    /// Text in these pieces. Texts that follow each other, gates aside, are one block.
    pub fn says_in<S: Into<String>>(self, pieces: impl IntoIterator<Item = S>) -> Self {
        self.step(Step::Text(pieces.into_iter().map(Into::into).collect()))
    }

    /// Reasoning in two pieces.
    pub fn thinks(self, text: impl Into<String>) -> Self {
        let pieces = halves(&text.into());
        self.step(Step::Reasoning(pieces))
    }

    /// A tool call. Calls directly after each other are parallel.
    pub fn calls(self, name: &str, args: Value) -> Self {
        let pieces = halves(&args.to_string());
        self.call(Call { id: None, name: name.to_owned(), pieces, gate: None })
    }

    /// A tool call whose argument text is these pieces, valid JSON or not.
    pub fn calls_in<S: Into<String>>(self, name: &str, pieces: impl IntoIterator<Item = S>) -> Self {
        let pieces = pieces.into_iter().map(Into::into).collect();
        self.call(Call { id: None, name: name.to_owned(), pieces, gate: None })
    }

    fn call(mut self, call: Call) -> Self {
        match self.steps.last_mut() {
            Some(Step::Calls(group)) => group.push(call),
            _ => self.steps.push(Step::Calls(vec![call])),
        }
        self
    }

    fn last_call(&mut self) -> &mut Call {
        match self.steps.last_mut() {
            Some(Step::Calls(group)) => group.last_mut().expect("a group holds a call"),
            _ => panic!("the last step of the reply is no call"),
        }
    }

    /// Chooses the id of the call before; it is `call_{request}_{number}` otherwise.
    pub fn with_id(mut self, id: &str) -> Self {
        self.last_call().id = Some(id.to_owned());
        self
    }

    /// Waits for the gate before the last piece of the arguments of the call before.
    pub fn gate_in_args(mut self, gate: &Gate) -> Self {
        self.last_call().gate = Some(gate.clone());
        self
    }

    /// Waits until the test opens the gate.
    pub fn gate(self, gate: &Gate) -> Self {
        self.step(Step::Gate(gate.clone()))
    }

    /// What the reply reports as its cost; 10 and 5 otherwise.
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = tokens;
        self
    }

    /// Ends with this reason, in the word of the format (`length`, `max_tokens`, …).
    pub fn finish(mut self, reason: &str) -> Self {
        self.reason = Some(reason.to_owned());
        self
    }

    /// Adds a header to the answer.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Closes the socket here, in the middle of the stream.
    pub fn cut(self) -> Self {
        self.step(Step::Cut)
    }

    /// Ends the HTTP answer in order, but without the format's own end.
    pub fn without_end(mut self) -> Self {
        self.finish = false;
        self
    }

    /// Says nothing more until the client gives up.
    pub fn silence(self) -> Self {
        self.step(Step::Silence)
    }

    /// Sends these bytes as they are.
    pub fn raw(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Raw(bytes.into()))
    }

    /// Sends an error event in the stream, in this format's own form.
    pub fn error_event(self, wire: super::Wire, kind: &str, message: &str) -> Self {
        let frame = encode::error_frame(wire, kind, message);
        self.step(Step::Raw(frame.into_bytes())).without_end()
    }

    /// Sends an event that is no JSON.
    pub fn garbage(self) -> Self {
        self.raw(*b"data: }{ not json\n\n")
    }

    /// Sends an event with bytes that are no UTF-8.
    pub fn invalid_utf8(self) -> Self {
        self.raw(*b"data: {\"text\":\"\xff\xfe\xc3\"}\n\n")
    }

    /// Sends one line of `bytes` bytes.
    pub fn long_line(self, bytes: usize) -> Self {
        self.step(Step::LongLine(bytes))
    }

    /// Writes the stream in slices of this many bytes, wherever that cuts an event.
    pub fn slices(mut self, bytes: usize) -> Self {
        self.slices = Some(bytes);
        self
    }

    /// Sends the reply.
    pub(super) async fn play(&self, connection: &mut Connection, request: &RecordedRequest) -> Played {
        self.try_play(connection, request).await.unwrap_or(Played::ClientClosed)
    }

    async fn try_play(
        &self,
        connection: &mut Connection,
        request: &RecordedRequest,
    ) -> Result<Played, ClientClosed> {
        if let Head::Failure { status, body } = &self.head {
            for step in &self.steps {
                match step {
                    Step::Gate(gate) => pass(gate, connection).await?,
                    Step::Silence => return silence(connection).await,
                    Step::Cut => return Ok(Played::Close),
                    other => panic!("{other:?} in a reply that fails with {status}"),
                }
            }
            let (media_type, bytes) = body_bytes(body);
            let mut headers = self.headers.clone();
            headers.push(("content-type".to_owned(), media_type.to_owned()));
            connection.send(*status, &headers, &bytes).await?;
            return Ok(Played::KeepAlive);
        }
        connection.begin_stream(&self.headers).await?;
        let mut encoder = Encoder::new(request, self.tokens);
        self.send(connection, &encoder.begin()).await?;
        for step in &self.steps {
            match step {
                Step::Text(pieces) => {
                    for piece in pieces {
                        self.send(connection, &encoder.text(piece)).await?;
                    }
                }
                Step::Reasoning(pieces) => {
                    for piece in pieces {
                        self.send(connection, &encoder.reasoning(piece)).await?;
                    }
                }
                Step::Calls(group) => {
                    for (gate, bytes) in encoder.calls(group) {
                        if let Some(gate) = gate {
                            pass(&gate, connection).await?;
                        }
                        self.send(connection, &bytes).await?;
                    }
                }
                Step::Gate(gate) => pass(gate, connection).await?,
                Step::Raw(bytes) => self.send_bytes(connection, bytes).await?,
                Step::LongLine(bytes) => long_line(connection, *bytes).await?,
                Step::Silence => return silence(connection).await,
                Step::Cut => return Ok(Played::Close),
            }
        }
        if self.finish {
            self.send(connection, &encoder.finish(self.reason.as_deref())).await?;
        }
        connection.end_stream().await?;
        Ok(Played::KeepAlive)
    }

    async fn send(&self, connection: &mut Connection, text: &str) -> Result<(), ClientClosed> {
        self.send_bytes(connection, text.as_bytes()).await
    }

    async fn send_bytes(&self, connection: &mut Connection, bytes: &[u8]) -> Result<(), ClientClosed> {
        for slice in bytes.chunks(self.slices.unwrap_or(usize::MAX).max(1)) {
            connection.chunk(slice).await?;
        }
        Ok(())
    }
}

/// How a reply ended.
pub enum Played {
    /// In order.
    KeepAlive,
    /// The script says to close the socket.
    Close,
    /// The client closed it.
    ClientClosed,
}

async fn pass(gate: &Gate, connection: &mut Connection) -> Result<(), ClientClosed> {
    tokio::select! {
        () = gate.pass() => Ok(()),
        () = connection.client_closes() => Err(ClientClosed),
    }
}

async fn silence(connection: &mut Connection) -> Result<Played, ClientClosed> {
    connection.client_closes().await;
    Ok(Played::ClientClosed)
}

async fn long_line(connection: &mut Connection, bytes: usize) -> Result<(), ClientClosed> {
    let block = vec![b'x'; 1 << 20];
    connection.chunk(b"data: ").await?;
    let mut left = bytes;
    while left > 0 {
        let now = left.min(block.len());
        connection.chunk(&block[..now]).await?;
        left -= now;
    }
    connection.chunk(b"\n\n").await
}
