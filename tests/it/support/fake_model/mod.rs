//! The far side of a model call: a real server that plays scripts and is strict about what it is asked.
//!
//! It speaks Chat Completions (`…/chat/completions`), Anthropic Messages (`…/messages`) and OpenAI
//! Responses (`…/responses`). A malformed prompt is answered with the 400 a provider would send, and is
//! kept as a violation that fails the test.

mod check;
mod encode;
mod http;
mod request;
mod script;
#[cfg(test)]
mod tests;

use http::{Connection, HttpRequest};
pub use request::{RecordedRequest, SeenCall, SeenMessage, SeenResult, SeenTool, Wire};
pub use script::{Gate, Reply, Tokens, calls, fails, says, says_in, thinks};

use serde_json::{Value, json};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// How long a test waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the answer to a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Not yet.
    Open,
    /// The script was played to its end.
    Played,
    /// The client closed the socket first.
    ClientClosed,
}

type Answer = Box<dyn Fn(&RecordedRequest) -> Reply + Send + Sync>;
type Matcher = Box<dyn Fn(&RecordedRequest) -> bool + Send + Sync>;

#[derive(Default)]
struct State {
    queue: VecDeque<Reply>,
    routes: Vec<(Matcher, Answer)>,
    fallback: Option<Answer>,
    turns: Lane,
    sides: Lane,
    violations: Vec<String>,
    key: Option<String>,
    /// Finished answers of OpenAI Responses by id, with all that led to them.
    kept: HashMap<String, Vec<SeenMessage>>,
    /// They were forgotten once, so an unknown id is no fault of the client.
    forgot: bool,
}

/// Requests of one kind. Turns and what runs beside them (titles, labels) come in any order to each other,
/// so each kind has numbers of its own.
#[derive(Default)]
struct Lane {
    requests: Vec<RecordedRequest>,
    /// Same index as `requests`.
    endings: Vec<Ending>,
}

impl State {
    fn lane(&mut self, side: bool) -> &mut Lane {
        if side { &mut self.sides } else { &mut self.turns }
    }
}

struct Shared {
    state: Mutex<State>,
    /// Counts changes, so that a test can wait for one.
    changed: watch::Sender<u64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the state of the fake was held")
    }

    fn change<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let result = f(&mut self.state());
        self.changed.send_modify(|n| *n += 1);
        result
    }
}

/// A scripted model on a port of its own. Stops when dropped.
pub struct FakeModel {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for FakeModel {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeModel {
    /// The key that a client has to send, unless [`FakeModel::expect_key`] says otherwise.
    pub const KEY: &'static str = "test-key";

    /// Starts a model without a script: any request is a violation.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port for the fake model");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = State { key: Some(Self::KEY.to_owned()), ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: watch::Sender::new(0) });
        let server = tokio::spawn(accept(listener, shared.clone()));
        let model = Self { shared, address, server };
        model.answer_side_requests();
        model
    }

    /// Starts a model that plays these replies, one a request.
    pub async fn script(replies: impl IntoIterator<Item = Reply>) -> Self {
        let model = Self::start().await;
        model.push(replies);
        model
    }

    /// `http://127.0.0.1:PORT`. Requests are routed by the end of their path, so any prefix will do.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets every answer that was kept.
    pub fn forget_answers(&self) {
        let mut state = self.shared.state();
        state.kept.clear();
        state.forgot = true;
    }

    /// Appends replies to the script.
    pub fn push(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.state().queue.extend(replies);
    }

    /// Answers requests for which `matcher` holds apart from the script (titles, labels). The route
    /// added last is asked first.
    pub fn on(
        &self,
        matcher: impl Fn(&RecordedRequest) -> bool + Send + Sync + 'static,
        answer: impl Fn(&RecordedRequest) -> Reply + Send + Sync + 'static,
    ) {
        self.shared.state().routes.insert(0, (Box::new(matcher), Box::new(answer)));
    }

    /// Answers whatever neither a route nor the script answers.
    pub fn otherwise(&self, answer: impl Fn(&RecordedRequest) -> Reply + Send + Sync + 'static) {
        self.shared.state().fallback = Some(Box::new(answer));
    }

    /// Answers structured side requests (title, turn label) so that scripts hold turns only. Works for
    /// a forced tool call and for a JSON schema alike.
    fn answer_side_requests(&self) {
        for (tool, key, text) in
            [("propose_title", "title", "A proposed title"), ("propose_turn_status_label", "label", "Did it")]
        {
            self.on(
                move |request| request.side() == Some(tool),
                move |request| proposes(request, &json!({ key: text })),
            );
        }
    }

    /// Answers requests for titles in this way.
    pub fn answer_titles(&self, answer: impl Fn(&RecordedRequest) -> Reply + Send + Sync + 'static) {
        self.on(|request| request.side() == Some("propose_title"), answer);
    }

    /// Requests beside the turns so far.
    pub fn side_requests(&self) -> Vec<RecordedRequest> {
        self.shared.state().sides.requests.clone()
    }

    /// Waits for request number `index` beside the turns, counted from 0.
    pub async fn side_request(&self, index: usize) -> RecordedRequest {
        self.wait(&format!("side request {index}"), |state| state.sides.requests.get(index).cloned()).await
    }

    /// Waits until the answer to a request beside the turns ended, and says how.
    pub async fn side_ended(&self, index: usize) -> Ending {
        self.wait(&format!("the end of side request {index}"), |state| {
            state.sides.endings.get(index).copied().filter(|ending| *ending != Ending::Open)
        })
        .await
    }

    /// The API key a client must send; `None` for a model without authentication.
    pub fn expect_key(&self, key: Option<&str>) {
        self.shared.state().key = key.map(str::to_owned);
    }

    /// All requests of turns so far, malformed ones included.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.state().turns.requests.clone()
    }

    /// Waits for request number `index`, counted from 0, and returns it.
    pub async fn request(&self, index: usize) -> RecordedRequest {
        self.wait(&format!("request {index}"), |state| state.turns.requests.get(index).cloned()).await
    }

    /// Waits until the client closed the socket in the middle of the answer to request `index`.
    pub async fn closed_by_client(&self, index: usize) {
        let ending = self.ended(index).await;
        assert_eq!(ending, Ending::ClientClosed, "the answer to request {index} was played to its end");
    }

    /// Waits until the answer to request `index` ended, and says how.
    pub async fn ended(&self, index: usize) -> Ending {
        self.wait(&format!("the end of request {index}"), |state| {
            state.turns.endings.get(index).copied().filter(|ending| *ending != Ending::Open)
        })
        .await
    }

    async fn wait<R>(&self, what: &str, look: impl Fn(&State) -> Option<R>) -> R {
        let mut changed = self.shared.changed.subscribe();
        let seen = async {
            loop {
                if let Some(result) = look(&self.shared.state()) {
                    return result;
                }
                changed.changed().await.expect("the fake outlives its waiters");
            }
        };
        match tokio::time::timeout(PATIENCE, seen).await {
            Ok(result) => result,
            Err(_) => panic!("the fake model waited {PATIENCE:?} for {what}; {}", self.summary()),
        }
    }

    fn summary(&self) -> String {
        let state = self.shared.state();
        let seen: Vec<String> = state.turns.requests.iter().map(RecordedRequest::summary).collect();
        let beside = state.sides.requests.len();
        format!(
            "violations: {:?}; requests: {:#?}; {:?}; beside them: {beside}",
            state.violations, seen, state.turns.endings
        )
    }

    /// Takes what was wrong so far: malformed or unscripted requests.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().violations)
    }

    /// Drops the rest of the script, for tests that end before it does.
    pub fn forget_rest(&self) {
        self.shared.state().queue.clear();
    }

    /// What is wrong at the end of a test: violations, and replies that nobody asked for.
    pub fn verdict(&self) -> Vec<String> {
        let mut faults = self.take_violations();
        let left = self.shared.state().queue.len();
        if left > 0 {
            faults.push(format!("{left} scripted replies were never asked for"));
        }
        faults
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                connections.spawn(serve(Connection::new(socket), shared.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers the requests of one connection until either side closes it.
async fn serve(mut connection: Connection, shared: Arc<Shared>) {
    loop {
        match connection.read_request().await {
            Ok(Some(request)) => {
                if answer(&mut connection, &request, &shared).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(fault) => return shared.change(|state| state.violations.push(fault)),
        }
    }
}

/// The connection is of no further use.
struct Gone;

async fn answer(connection: &mut Connection, http: &HttpRequest, shared: &Shared) -> Result<(), Gone> {
    let mut faults = Vec::new();
    let mut request = RecordedRequest::read(0, http, &mut faults);
    let side = request.side().is_some();
    let forgotten = !shared.state().expand(&mut request, &mut faults);
    check::check(&request, &mut faults);
    let key = shared.state().key.clone();
    let unauthorised = key.is_some_and(|key| !request.carries_key(&key));
    if unauthorised {
        faults.push("the API key is missing or wrong".to_owned());
    }
    let (index, reply) = shared.change(|state| {
        let lane = state.lane(side);
        let index = lane.requests.len();
        request.index = index;
        lane.requests.push(request.clone());
        lane.endings.push(Ending::Open);
        let reply = if forgotten && !unauthorised {
            let text =
                format!("Previous response with id {} not found.", request.body["previous_response_id"]);
            fails(
                400,
                json!({ "error": { "message": text, "type": "invalid_request_error",
                "param": "previous_response_id", "code": "previous_response_not_found" } }),
            )
        } else if unauthorised {
            refusal(request.wire, 401, "authentication_error", &faults)
        } else if faults.is_empty() {
            state.reply(&request).unwrap_or_else(|| {
                faults.push("nothing is scripted for this request".to_owned());
                refusal(request.wire, 400, "invalid_request_error", &faults)
            })
        } else {
            refusal(request.wire, 400, "invalid_request_error", &faults)
        };
        if !side {
            state.keep(&request, &reply);
        }
        let summary = request.summary();
        state.violations.extend(faults.iter().map(|fault| format!("request {index}: {fault}\n  {summary}")));
        (index, reply)
    });
    let ending = reply.play(connection, &request).await;
    let (ending, result) = match ending {
        script::Played::KeepAlive => (Ending::Played, Ok(())),
        script::Played::Close => (Ending::Played, Err(Gone)),
        script::Played::ClientClosed => (Ending::ClientClosed, Err(Gone)),
    };
    shared.change(|state| state.lane(side).endings[index] = ending);
    result
}

impl State {
    /// Puts what was said before into a chained request, as the provider does. False: that answer is forgotten.
    fn expand(&self, request: &mut RecordedRequest, faults: &mut Vec<String>) -> bool {
        let Some(id) = request.body["previous_response_id"].as_str() else { return true };
        let Some(before) = self.kept.get(id) else {
            if !self.forgot {
                faults.push(format!("previous_response_id {id:?} was never given"));
            }
            return !self.forgot;
        };
        let (mut all, new): (Vec<_>, Vec<_>) =
            std::mem::take(&mut request.messages).into_iter().partition(|m| m.role == "system");
        if new.is_empty() || new.iter().any(|m| m.role != "user") {
            faults.push("a chained request with more than what the user said since".to_owned());
        }
        all.extend(before.iter().filter(|m| m.role != "system").cloned());
        all.extend(new);
        request.messages = all;
        true
    }

    /// Keeps an answer with all that led to it, if the client has it kept.
    fn keep(&mut self, request: &RecordedRequest, reply: &Reply) {
        if request.wire != Wire::Responses || request.body["store"] == json!(false) {
            return;
        }
        // Whoever goes on from an answer with calls owes their results, which is not checked here.
        let Some(text) = reply.final_text() else { return };
        let mut all = request.messages.clone();
        all.push(SeenMessage { role: "assistant".into(), text, ..SeenMessage::default() });
        self.kept.insert(format!("resp_{}", request.index), all);
    }

    fn reply(&mut self, request: &RecordedRequest) -> Option<Reply> {
        if let Some((_, answer)) = self.routes.iter().find(|(matches, _)| matches(request)) {
            return Some(answer(request));
        }
        self.queue.pop_front().or_else(|| self.fallback.as_ref().map(|answer| answer(request)))
    }
}

/// A structured answer, as a call or as text, in the way the request asks for it.
pub fn proposes(request: &RecordedRequest, answer: &Value) -> Reply {
    match request.tools.first() {
        Some(tool) => calls(&tool.name, answer.clone()),
        None => says(answer.to_string()),
    }
}

/// A refusal in the provider's own form.
fn refusal(wire: Wire, status: u16, kind: &str, faults: &[String]) -> Reply {
    fails(status, error_body(wire, kind, &faults.join("; ")))
}

/// An error body in the provider's own form.
pub fn error_body(wire: Wire, kind: &str, message: &str) -> Value {
    match wire {
        Wire::Anthropic => json!({ "type": "error", "error": { "type": kind, "message": message } }),
        Wire::Chat | Wire::Responses | Wire::Unknown => {
            json!({ "error": { "message": message, "type": kind, "param": null, "code": null } })
        }
    }
}
