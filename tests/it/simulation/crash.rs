//! `kill -9` at random moments under load, again and again on the same data: nothing that was accepted is
//! lost or doubled, no chat hangs, no prompt breaks, and every subscriber converges.
//!
//! `CHATD_CRASH_RUNS` is the number of kills, `CHATD_CRASH_SEED` repeats a run (the order of requests is
//! the machine's, so a repetition is close, not equal).

use super::{
    ledger::Ledger,
    model::{self, CLIENT_TOOL},
};
use crate::support::{
    Engine, Harness,
    client::{Api, ChatStream},
    daemon::DaemonProcess,
    outside::within,
    run_within,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

/// Kills of a run when nobody says otherwise: a few seconds.
const KILLS: u64 = 6;
const CHATS: u64 = 6;
/// The daemon lives at most this long before it is killed.
const LONGEST_LIFE: u64 = 900;
/// After the last restart everything must be at rest within this time: tool deadlines are answered, and
/// the longest backoff of a few failures in a row is some seconds.
const REST: Duration = Duration::from_secs(60);

/// Seeded randomness (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("an index fits")
    }

    fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[test]
fn sqlite() {
    simulate(Engine::Sqlite);
}

#[test]
fn postgres() {
    simulate(Engine::Postgres);
}

fn simulate(engine: Engine) {
    let kills = number("CHATD_CRASH_RUNS").unwrap_or(KILLS);
    let seed = number("CHATD_CRASH_SEED").unwrap_or_else(rand::random);
    let limit = Duration::from_secs(kills * 5) + REST * 2;
    println!("CHATD_CRASH_RUNS={kills} CHATD_CRASH_SEED={seed} on {engine:?}");
    run_within(limit, engine, &format!("crash {seed}"), |h| async move {
        Simulation::start(h, seed).await.run(kills).await;
    });
}

/// One chat, its sender and its reader.
struct Party {
    ledger: Ledger,
    stream: Option<ChatStream>,
    dice: Dice,
}

struct Simulation {
    h: Harness,
    daemon: DaemonProcess,
    parties: Vec<Party>,
    dice: Dice,
}

impl Simulation {
    async fn start(h: Harness, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let answers = Arc::new(Mutex::new(dice.fork()));
        h.model.otherwise(move |request| {
            let mut dice = answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            model::reply(request, &mut dice)
        });
        h.configure("[worker]\nlease = \"1s\"\nheartbeat_interval = \"200ms\"");
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut parties = Vec::new();
        for n in 0..CHATS {
            let first = format!("the first message of chat {n}");
            let chat = api
                .create_chat_with(json!({
                    "content": [{ "type": "text", "text": first }],
                    "unsafe_dynamic_tools": [{ "name": CLIENT_TOOL, "input_schema":
                        { "type": "object", "properties": { "question": { "type": "integer" } } } }],
                }))
                .await;
            let chat = chat["id"].as_str().expect("a chat has an id");
            parties.push(Party { ledger: Ledger::new(chat, &first), stream: None, dice: dice.fork() });
        }
        Self { h, daemon, parties, dice }
    }

    async fn run(mut self, kills: u64) {
        for _ in 0..kills {
            let api = self.daemon.api();
            for party in &mut self.parties {
                party.connect(&api).await;
            }
            let life = Duration::from_millis(30 + self.dice.below(LONGEST_LIFE));
            let parties = std::mem::take(&mut self.parties);
            let running: Vec<_> = parties.into_iter().map(|p| tokio::spawn(p.live(api.clone()))).collect();
            tokio::time::sleep(life).await;
            self.daemon.kill_9().await;
            let broken = self.h.broken_rules(&self.daemon).await;
            assert!(broken.is_empty(), "after a kill: {broken:?}");
            for ended in join_all(running).await {
                self.parties.push(ended.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())));
            }
            let killed = self.database_time().await;
            self.daemon.restart().await;
            self.connections_ended(killed).await;
            let api = self.daemon.api();
            for party in &mut self.parties {
                let again = party.dice.below(2) == 0;
                party.ledger.resolve(&api, again).await;
            }
            self.judge_prompts();
        }
        self.rest().await;
    }

    /// Microseconds by the clock of a PostgreSQL server.
    async fn database_time(&self) -> i64 {
        match self.h.engine {
            Engine::Sqlite => 0,
            Engine::Postgres => {
                let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::int8 AS n";
                self.h.number(&self.daemon, now).await
            }
        }
    }

    /// Waits until a PostgreSQL server has carried out what a killed process had sent it: without an answer, a message
    /// may be there or not, but only then does it stay so.
    async fn connections_ended(&self, killed: i64) {
        if self.h.engine == Engine::Sqlite {
            return;
        }
        let older = format!(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() \
             AND backend_type = 'client backend' AND backend_start < to_timestamp({killed} / 1e6)"
        );
        within(Duration::from_secs(30), "the end of the killed process's connections", async || {
            (self.h.number(&self.daemon, &older).await == 0).then_some(())
        })
        .await;
    }

    /// Faults of the requests so far. A kill cuts requests in the middle, which is no fault.
    fn judge_prompts(&self) {
        let faults = self.h.model.take_violations();
        let faults: Vec<_> =
            faults.into_iter().filter(|f| !f.starts_with("a request that was cut")).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    /// Lets everything finish and judges what is left.
    async fn rest(mut self) {
        let api = self.daemon.api();
        for party in &mut self.parties {
            party.come_to_rest(&api).await;
        }
        let mut faults = Vec::new();
        let mut accepted: BTreeMap<&str, u32> = BTreeMap::new();
        for party in &mut self.parties {
            faults.extend(party.ledger.faults(&api).await);
            faults.extend(party.converges(&api).await);
            for (kind, count) in &party.ledger.accepted {
                *accepted.entry(kind).or_default() += count;
            }
        }
        println!("accepted: {accepted:?}; model requests: {}", self.h.turn_requests().len());
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        self.judge_prompts();
        assert_eq!(self.daemon.stop().await.code(), Some(143));
        assert_eq!(self.h.broken_rules(&self.daemon).await, Vec::<&str>::new());
        let owned =
            self.h.number(&self.daemon, "SELECT count(*) AS n FROM chats WHERE worker_id IS NOT NULL").await;
        assert_eq!(owned, 0, "chats owned by a daemon that has ended");
    }
}

impl Party {
    /// Half of the readers come back with what they hold, the others as if they were new.
    async fn connect(&mut self, api: &Api) {
        let chat = self.ledger.chat.clone();
        match &mut self.stream {
            Some(stream) if self.dice.below(2) == 0 && stream.fold.last_id().is_some() => {
                let cursor = stream.fold.last_id();
                stream.reconnect(api, &chat, cursor).await;
            }
            stream => *stream = Some(api.stream(&chat, None).await),
        }
    }

    /// Reads and writes until the daemon is killed.
    async fn live(mut self, api: Api) -> Self {
        let mut stream = self.stream.take().expect("connected before");
        let read = async move {
            stream.closed().await;
            stream
        };
        let write = async {
            while self.act(&api).await {}
            self
        };
        let (stream, mut party) = tokio::join!(read, write);
        party.stream = Some(stream);
        party
    }

    /// One random request; false when the daemon is gone.
    async fn act(&mut self, api: &Api) -> bool {
        if let Some(pending) = pending_calls(api, &self.ledger.chat).await
            && !pending.is_empty()
            && self.dice.below(4) > 0
        {
            return self.ledger.answer(api, &pending).await;
        }
        let choice = self.dice.below(100);
        let mut dice = self.dice.fork();
        match choice {
            0..=24 => self.ledger.send(api, "queue").await,
            25..=32 => self.ledger.send(api, "interrupt").await,
            33..=38 => self.ledger.edit(api, |n| n - 1 - dice.index(n.min(3))).await,
            39..=44 => self.ledger.queue(api, false, |n| dice.index(n)).await,
            45..=50 => self.ledger.queue(api, true, |n| dice.index(n)).await,
            51..=54 => self.ledger.interrupt(api).await,
            _ => {
                // Lets a turn go on for a while.
                tokio::time::sleep(Duration::from_millis(dice.below(150))).await;
                true
            }
        }
    }

    /// Waits until nothing goes on in this chat; answers what it asks.
    async fn come_to_rest(&mut self, api: &Api) {
        let chat = self.ledger.chat.clone();
        let ledger = tokio::sync::Mutex::new(&mut self.ledger);
        within(REST, "the chat is at rest", async || {
            if let Some(pending) = pending_calls(api, &chat).await.filter(|calls| !calls.is_empty()) {
                assert!(ledger.lock().await.answer(api, &pending).await, "no answer");
            }
            let status = api.chat(&chat).await["status"].clone();
            const KNOWN: [&str; 5] = ["waiting", "running", "interrupting", "requires_action", "error"];
            assert!(KNOWN.iter().any(|known| status == *known), "status {status}");
            (status == "waiting" || status == "error").then_some(())
        })
        .await;
    }

    /// What is wrong with the history, or with what a reader holds of it.
    async fn converges(&mut self, api: &Api) -> Vec<String> {
        let chat = self.ledger.chat.clone();
        let history = api.history(&chat).await;
        let mut faults = judge(&history);
        let row = api.chat(&chat).await;
        if row["status"] == "error" {
            faults.push(format!("{chat} ended in an error: {}", row["last_error"]));
        }
        let stored: BTreeMap<i64, Value> =
            history.into_iter().map(|m| (m["id"].as_i64().expect("an id"), m)).collect();
        let mut streams = vec![api.stream(&chat, None).await];
        if let Some(mut old) = self.stream.take() {
            let cursor = old.fold.last_id();
            old.reconnect(api, &chat, cursor).await;
            streams.push(old);
        }
        for mut stream in streams {
            let status = row["status"].as_str().unwrap_or_default().to_owned();
            let resets = stream.fold.history_resets;
            stream
                .until("the reader is up to date", |f| f.is(&status) && f.messages.keys().eq(stored.keys()))
                .await;
            if stream.fold.messages != stored {
                faults.push(format!(
                    "a reader ({resets} resets) holds {:#?}, stored is {stored:#?}",
                    stream.fold.messages
                ));
            }
        }
        faults
    }
}

/// Ids of the calls that the client has to answer; `None` when there is no answer.
async fn pending_calls(api: &Api, chat: &str) -> Option<Vec<String>> {
    let path = format!("/chats/{chat}");
    let row = api.try_call(reqwest::Method::GET, &path, None).await.ok()?.json(200);
    if row["status"] != "requires_action" {
        return Some(Vec::new());
    }
    let path = format!("/chats/{chat}/messages?limit=200");
    let page = api.try_call(reqwest::Method::GET, &path, None).await.ok()?.json(200);
    let parts =
        || page["messages"].as_array().into_iter().flatten().flat_map(|m| m["content"].as_array()).flatten();
    let id = |part: &Value| part["tool_call_id"].as_str().map(str::to_owned);
    let answered: BTreeSet<String> = parts().filter(|p| p["type"] == "tool-result").filter_map(id).collect();
    let asked = parts().filter(|p| p["type"] == "tool-call" && p["tool_name"] == CLIENT_TOOL).filter_map(id);
    Some(asked.filter(|call| !answered.contains(call)).collect())
}

/// Rules that every history keeps.
fn judge(history: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let ids: Vec<i64> = history.iter().filter_map(|m| m["id"].as_i64()).collect();
    if !ids.is_sorted_by(|a, b| a < b) {
        faults.push(format!("ids do not rise: {ids:?}"));
    }
    let mut open: BTreeSet<String> = BTreeSet::new();
    let mut said: BTreeSet<String> = BTreeSet::new();
    for message in history {
        let parts = message["content"].as_array().map_or(&[][..], Vec::as_slice);
        let text: String = parts.iter().filter_map(|p| p["text"].as_str()).collect();
        if message["role"] == "user" && !open.is_empty() {
            faults.push(format!("a user message while {open:?} have no answer: {message}"));
        }
        // Every whole answer of the model is unique.
        if message["role"] == "assistant" && text.ends_with('.') && !said.insert(text) {
            faults.push(format!("an answer is stored twice: {message}"));
        }
        for part in parts {
            let id = part["tool_call_id"].as_str().unwrap_or_default().to_owned();
            let fits = match part["type"].as_str() {
                Some("tool-call") => open.insert(id),
                Some("tool-result") => open.remove(&id),
                _ => true,
            };
            if !fits {
                faults.push(format!("a call or a result too many: {part}"));
            }
        }
    }
    if !open.is_empty() {
        faults.push(format!("calls without an answer at the end: {open:?}"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: i64, role: &str, parts: Value) -> Value {
        json!({ "id": id, "role": role, "content": parts })
    }

    /// The judge must see what it is there for.
    #[test]
    fn the_judge_sees_lost_and_doubled_things() {
        let say = |text: &str| json!([{ "type": "text", "text": text }]);
        let call = || json!([{ "type": "tool-call", "tool_call_id": "c" }]);
        let result = || json!([{ "type": "tool-result", "tool_call_id": "c" }]);
        let user = |id| message(id, "user", say("hi"));
        let good = [
            user(1),
            message(2, "assistant", call()),
            message(3, "tool", result()),
            message(4, "assistant", say("a.")),
        ];
        assert_eq!(judge(&good), Vec::<String>::new());
        let bad: [(&[Value], &str); 6] = [
            (&[user(2), user(1)], "ids do not rise"),
            (&[user(1), user(1)], "ids do not rise"),
            (&[user(1), message(2, "assistant", call())], "calls without an answer"),
            (
                &[message(1, "assistant", call()), user(2), message(3, "tool", result())],
                "a user message while",
            ),
            (&[user(1), message(2, "tool", result())], "a result too many"),
            (&[message(1, "assistant", say("a.")), message(2, "assistant", say("a."))], "stored twice"),
        ];
        for (history, expected) in bad {
            let faults = judge(history).join("; ");
            assert!(faults.contains(expected), "{expected:?} is not in {faults:?}");
        }
    }
}
