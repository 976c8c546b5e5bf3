//! The walk through chats: everything below a chat prefix but its settings.

use super::walk::{Walk, text};
use crate::{
    support::{Harness, client::Api, daemon::DaemonProcess, fake_model::Gate},
    tools::with_client_tool,
};
use serde_json::{Value, json};

/// What a message has to say for the model to wait.
pub const HOLD: &str = "hold";
/// What it has to say for the model to ask the client.
pub const ASK: &str = "ask";

fn says(words: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": words }] })
}

/// Everything of chats below one of the two prefixes. The model waits at `gate` for what it was told to
/// hold, and asks the client where it was told to.
pub struct Chats<'a> {
    pub h: &'a Harness,
    pub daemon: &'a DaemonProcess,
    pub api: Api,
    pub prefix: &'static str,
    pub organization: &'a str,
    pub reader: &'a str,
}

impl Chats<'_> {
    fn at(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    async fn create(&self, walk: &mut Walk, words: &str) -> String {
        let mut body = with_client_tool(words);
        body["organization_id"] = json!(self.organization);
        walk.call("POST", self.prefix, &[], body, 201).await.id()
    }

    async fn is(&self, chat: &str, status: &str) {
        self.api.stream(chat, None).await.status(status).await;
    }

    /// All of it.
    pub async fn walk(&self, walk: &mut Walk, gate: &Gate) {
        self.files(walk).await;
        let chat = self.one_chat(walk).await;
        self.history_of(walk, &chat).await;
        self.queue(walk, gate).await;
        self.client_tools(walk).await;
    }

    async fn files(&self, walk: &mut Walk) {
        let template = self.at("/files?organization=") + self.organization;
        let request = walk
            .request("POST", &template, &[])
            .header("content-type", "text/plain")
            .header("content-disposition", "attachment; filename=\"a.txt\"")
            .body("Some text.\n");
        let file = walk.send("POST", &template, request, 201).await.id();
        walk.call("GET", &self.at("/files/{file}"), &[&file], Value::Null, 200).await;
    }

    async fn one_chat(&self, walk: &mut Walk) -> String {
        let chat = self.create(walk, "What is it?").await;
        self.is(&chat, "waiting").await;
        let listed = walk.call("GET", self.prefix, &[], Value::Null, 200).await.body;
        assert!(listed.as_array().is_some_and(|all| all.iter().any(|c| c["id"] == json!(chat))), "{listed}");
        walk.call("GET", &self.at("/by-workspace"), &[], Value::Null, 200).await;
        walk.socket(&self.at("/watch"), &[], None).await;
        let one = self.at("/{chat}");
        walk.call("GET", &one, &[&chat], Value::Null, 200).await;
        walk.call("PATCH", &one, &[&chat], json!({ "title": "By hand" }), 204).await;
        for (method, rest, body, code) in [
            ("GET", "/prompts", Value::Null, 200),
            ("GET", "/diff", Value::Null, 200),
            ("GET", "/acl", Value::Null, 200),
            ("PATCH", "/acl", json!({ "user_roles": { self.reader: "read" } }), 204),
            ("GET", "/cost", Value::Null, 200),
            ("POST", "/title/propose", json!({}), 200),
            ("POST", "/title/regenerate", json!({}), 200),
        ] {
            walk.call(method, &format!("{one}{rest}"), &[&chat], body, code).await;
        }
        walk.socket(&self.at("/{chat}/stream"), &[&chat], None).await;
        walk.socket(&self.at("/{chat}/stream/parts"), &[&chat], None).await;
        chat
    }

    async fn history_of(&self, walk: &mut Walk, chat: &str) {
        let messages = self.at("/{chat}/messages");
        let sent = walk.call("POST", &messages, &[chat], says("And then?"), 200).await.body;
        assert_eq!(sent["queued"], json!(false));
        let message = sent["message"]["id"].to_string();
        self.is(chat, "waiting").await;
        let page = walk.call("GET", &messages, &[chat], Value::Null, 200).await.body;
        assert_eq!(page["messages"].as_array().map(Vec::len), Some(4), "{page}");
        let one = self.at("/{chat}/messages/{message}");
        walk.call("PATCH", &one, &[chat, &message], says("Or else?"), 200).await;
        self.is(chat, "waiting").await;
        walk.call("POST", &self.at("/{chat}/compact"), &[chat], json!({}), 200).await;
        self.is(chat, "waiting").await;
        walk.call("POST", &self.at("/{chat}/clear"), &[chat], json!({}), 200).await;
    }

    async fn queue(&self, walk: &mut Walk, gate: &Gate) {
        let chat = self.create(walk, HOLD).await;
        gate.reached().await;
        let messages = self.at("/{chat}/messages");
        let mut queued = Vec::new();
        for words in ["one", "two"] {
            let sent = walk.call("POST", &messages, &[&chat], says(words), 200).await.body;
            assert_eq!(sent["queued"], json!(true));
            queued.push(sent["queued_message"]["id"].to_string());
        }
        walk.call("DELETE", &self.at("/{chat}/queue/{queued}"), &[&chat, &queued[0]], Value::Null, 204).await;
        let promote = self.at("/{chat}/queue/{queued}/promote");
        walk.call("POST", &promote, &[&chat, &queued[1]], Value::Null, 202).await;
        gate.open();
        self.is(&chat, "waiting").await;
    }

    async fn client_tools(&self, walk: &mut Walk) {
        let chat = self.create(walk, ASK).await;
        let mut stream = self.api.stream(&chat, None).await;
        let held = stream.until("the question", |f| f.action_required.is_some()).await;
        let call = held.action_required.as_ref().expect("just seen")["tool_calls"][0].clone();
        let results = json!({ "results": [{ "tool_call_id": text(&call["tool_call_id"]), "output": 1 }] });
        walk.call("POST", &self.at("/{chat}/tool-results"), &[&chat], results, 204).await;
        self.is(&chat, "waiting").await;
        // A state that no call makes: archived while it asks.
        let chat = self.create(walk, ASK).await;
        self.is(&chat, "requires_action").await;
        let yes = if self.h.engine == crate::support::Engine::Sqlite { "1" } else { "true" };
        let sql = format!("UPDATE chats SET archived = {yes} WHERE id = {}", self.h.uuid(&chat));
        self.h.execute(self.daemon, &sql).await;
        walk.call("POST", &self.at("/{chat}/reconcile-invalid"), &[&chat], Value::Null, 200).await;
        // And one that is stopped while it asks.
        let chat = self.create(walk, ASK).await;
        self.is(&chat, "requires_action").await;
        walk.call("POST", &self.at("/{chat}/interrupt"), &[&chat], Value::Null, 200).await;
    }
}

/// Debug runs, which are there once somebody has switched them on.
pub async fn debug_runs(walk: &mut Walk, api: &Api) {
    let chat = crate::support::turns::id(&api.create_chat("Record this.").await);
    api.stream(&chat, None).await.answered(1).await;
    let all = "/api/experimental/chats/{chat}/debug/runs";
    let path = format!("/chats/{chat}/debug/runs");
    let run = crate::support::outside::eventually("a run", async || {
        api.get(&path).await.json(200)[0]["id"].as_str().map(str::to_owned)
    })
    .await;
    walk.call("GET", all, &[&chat], Value::Null, 200).await;
    walk.call("GET", &format!("{all}/{{run}}"), &[&chat, &run], Value::Null, 200).await;
}
