//! Chats in every state, made through the API as far as the API makes them.

use super::table::{ARCHIVED_ASKING, ARCHIVED_RUNNING, State, WAITING_WITH_QUEUE};
use crate::support::{
    Harness,
    client::Api,
    daemon::DaemonProcess,
    fake_model::{Gate, fails, says},
    turns::id,
};
use serde_json::{Value, json};

/// Id of the pending call of a chat that asks.
pub const CALL: &str = "call_1";

/// A daemon that drives nothing, so that every state stays as a call has left it, and chats whose turn
/// an earlier start of it has ended.
pub struct Chats {
    pub h: Harness,
    pub daemon: DaemonProcess,
    pub api: Api,
    /// Status, messages in the queue, id.
    made: Vec<(&'static str, usize, String)>,
}

impl Chats {
    /// Makes the chats of `wanted` (a state and the length of its queue) that need a turn, and then
    /// starts the daemon anew without its workers.
    pub async fn new(h: Harness, wanted: &[(State, usize)]) -> Self {
        let gate = Gate::new();
        let held = gate.clone();
        h.model.otherwise(move |request| match request.last_user() {
            "error" => fails(401, json!({ "error": { "message": "bad key" } })).gate(&held),
            "requires_action" => {
                says("Let me ask. ").calls("ask_client", json!({ "what": "name" })).with_id(CALL)
            }
            _ => says("An answer."),
        });
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let mut made = Vec::new();
        for (State(status, _, _), queued) in wanted {
            if !["waiting", "error", "requires_action"].contains(status) {
                continue;
            }
            let chat = create(&api, status).await;
            // Of the three only a failed chat has its queue from the time of its turn.
            if *status == "error" {
                queue(&api, &chat, *queued).await;
            }
            made.push((*status, *queued, chat));
        }
        gate.open();
        for (status, _, chat) in &made {
            api.stream(chat, None).await.status(status).await;
        }
        daemon.stop().await;
        daemon.configure("[worker]\nenabled = false");
        daemon.restart().await;
        Self { h, daemon, api, made }
    }

    /// A chat of its own in this state.
    pub async fn take(&mut self, state: State, queued: usize) -> String {
        let State(status, _, archived) = state;
        let at = self.made.iter().position(|(made, length, _)| (*made, *length) == (status, queued));
        let (chat, fresh) = match at {
            Some(at) => (self.made.swap_remove(at).2, false),
            None => (create(&self.api, "running").await, true),
        };
        assert!(fresh == ["running", "interrupting"].contains(&status), "no chat was made in {state:?}");
        let uuid = self.h.uuid(&chat);
        let sql = async |change: &str| {
            self.h.execute(&self.daemon, &format!("UPDATE chats SET {change} WHERE id = {uuid}")).await;
        };
        let yes = if self.h.engine == crate::support::Engine::Sqlite { "1" } else { "true" };
        match state {
            WAITING_WITH_QUEUE => {
                // No call makes it: the queue is filled while the chat runs.
                self.api.send(&chat, "go on").await;
                queue(&self.api, &chat, queued).await;
                sql("status = 'waiting'").await;
            }
            ARCHIVED_RUNNING | ARCHIVED_ASKING => sql(&format!("archived = {yes}")).await,
            State("interrupting", _, _) => {
                queue(&self.api, &chat, queued).await;
                assert_eq!(self.api.interrupt(&chat).await["status"], json!("interrupting"));
            }
            State("running" | "requires_action", _, _) => queue(&self.api, &chat, queued).await,
            _ if archived => {
                let body = json!({ "archived": true });
                self.api.patch(&format!("/chats/{chat}"), body).await.empty(204);
            }
            _ => {}
        }
        chat
    }

    /// What there is of a chat.
    pub async fn whole(&self, chat: &str) -> Whole {
        let uuid = self.h.uuid(chat);
        let number = async |sql: &str| self.h.number(&self.daemon, sql).await;
        Whole {
            chat: self.api.chat(chat).await,
            history: self.api.history(chat).await,
            queue: self.api.queue(chat).await,
            snapshot: number(&format!("SELECT snapshot_version AS n FROM chats WHERE id = {uuid}")).await,
            rows: number(&format!("SELECT count(*) AS n FROM chat_messages WHERE chat_id = {uuid}")).await,
        }
    }
}

async fn create(api: &Api, text: &str) -> String {
    id(&api.create_chat_with(crate::tools::with_client_tool(text)).await)
}

async fn queue(api: &Api, chat: &str, messages: usize) {
    for n in 1..=messages {
        assert_eq!(api.send(chat, &format!("queued {n}")).await["queued"], json!(true));
    }
}

/// All that the API shows of a chat, and how often it was written to.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    pub chat: Value,
    pub history: Vec<Value>,
    pub queue: Vec<Value>,
    /// Moves with every transaction that applies a transition (state-machine.md §1).
    snapshot: i64,
    /// Messages, deleted and hidden ones included.
    rows: i64,
}

impl Whole {
    pub fn is(&self, state: State) -> bool {
        let State(status, queue, archived) = state;
        self.chat["status"] == status
            && self.queue.is_empty() != queue
            && self.chat["archived"] == json!(archived)
    }

    /// Id of the first message of the user.
    pub fn first_question(&self) -> i64 {
        let first = self.history.iter().find(|m| m["role"] == "user").expect("a chat begins with a question");
        first["id"].as_i64().expect("an id")
    }

    /// What the user has said: in the history, and in the queue.
    pub fn said(&self) -> (Vec<String>, Vec<String>) {
        let text = |row: &Value| row["content"][0]["text"].as_str().expect("a text").to_owned();
        let history = self.history.iter().filter(|m| m["role"] == "user");
        (history.map(text).collect(), self.queue.iter().map(text).collect())
    }

    /// The results of the call that was pending, in order.
    pub fn results(&self) -> Vec<Value> {
        let parts = self.history.iter().filter(|m| m["role"] == "tool").map(|m| m["content"][0].clone());
        parts.filter(|part| part["tool_call_id"] == CALL).collect()
    }
}
