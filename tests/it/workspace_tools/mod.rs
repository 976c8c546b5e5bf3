//! Chats that work in a workspace: a `local` one, with a real agent process, through the public API.

mod agents;
mod build;
mod context;
mod files;
mod hostile;
mod link;
mod mcp;
mod person;
mod processes;
mod replicas;
mod steps;
mod story;

use crate::support::{
    Harness,
    client::Api,
    daemon::DaemonProcess,
    fake_model::{Reply, says},
    outside::{eventually, within},
    turns::{id, text},
};
use serde_json::{Value, json};
use std::time::Duration;

/// Templates whose folders lie below the data folder.
const LOCAL: &str = "[[templates]]\nname = \"box\"\nkind = \"local\"\ndescription = \"A folder\"\n\
    [[templates]]\nname = \"person\"\nkind = \"external\"\n";

async fn template(api: &Api, name: &str) -> String {
    let all = api.get("/api/v2/templates").await.json(200);
    let found = all.as_array().expect("an array").iter().find(|t| t["name"] == name);
    found.unwrap_or_else(|| panic!("no template {name}: {all}"))["id"].as_str().expect("an id").to_owned()
}

/// A chat that is bound to a workspace whose agent is there, and the folder in which that works.
#[derive(Clone)]
struct Bound {
    api: Api,
    chat: String,
    workspace: String,
    folder: String,
}

impl Bound {
    /// Makes the workspace by the API, and the chat with it.
    async fn make(daemon: &DaemonProcess, name: &str) -> Self {
        Self::workspace(daemon, name).await.with_chat().await
    }

    /// Makes the workspace; there is no chat yet.
    async fn workspace(daemon: &DaemonProcess, name: &str) -> Self {
        let api = daemon.api();
        let template_id = template(&api, "box").await;
        let body = json!({ "name": name, "template_id": template_id });
        let made = api.post("/api/v2/workspaces", body).await.json(201);
        let workspace = id(&made);
        let path = format!("/api/v2/workspaces/{workspace}");
        let folder = eventually("the agent is there", async || {
            let now = api.get(&path).await.json(200);
            let agent = &now["agents"][0];
            let there = agent["status"] == "connected" && now["latest_build"]["status"] == "succeeded";
            there.then(|| agent["directory"].as_str().expect("a path").to_owned())
        })
        .await;
        Self { api, chat: String::new(), workspace, folder }
    }

    /// Makes a chat in the workspace.
    async fn with_chat(self) -> Self {
        let body =
            json!({ "workspace_id": self.workspace, "content": [{ "type": "text", "text": "Hello" }] });
        let chat = id(&self.api.create_chat_with(body).await);
        Self { chat, ..self }
    }

    /// Waits until the agent has this status.
    async fn has_agent(&self, status: &str) {
        let path = format!("/api/v2/workspaces/{}", self.workspace);
        within(Duration::from_secs(60), status, async || {
            (self.api.get(&path).await.json(200)["agents"][0]["status"] == status).then_some(())
        })
        .await;
    }

    /// The first results of the chat, once there are so many, however long that takes.
    async fn results(&self, count: usize) -> Vec<Value> {
        within(Duration::from_secs(100), "the results", async || {
            let history = self.api.history(&self.chat).await;
            let parts = history.iter().flat_map(|m| m["content"].as_array().cloned().unwrap_or_default());
            let results: Vec<Value> = parts.filter(|part| part["type"] == "tool-result").collect();
            (results.len() >= count).then_some(results)
        })
        .await
    }

    /// Waits until the model has had the last word, which is this one.
    async fn ends(&self, text: &str) {
        within(Duration::from_secs(100), "the end of the turn", async || {
            let over = self.api.chat(&self.chat).await["status"] == "waiting";
            let history = self.api.history(&self.chat).await;
            let last = history.last().map(|m| m["content"][0]["text"].clone());
            (over && last == Some(json!(text))).then_some(())
        })
        .await;
    }

    /// Has the model make these calls in one step, one answer each, and returns the results.
    async fn calls(&self, h: &Harness, calls: Vec<(&str, Value)>) -> Vec<Value> {
        let count = calls.len();
        let reply = calls.into_iter().fold(Reply::empty(), |reply, (name, args)| reply.calls(name, args));
        h.model.push([reply, says("Done.")]);
        let mut stream = self.api.stream(&self.chat, None).await;
        let before = stream.settled().await.parts_of("tool-result").len();
        let path = format!("/chats/{}/messages", self.chat);
        self.api.post(&path, text("Go on.")).await.json(200);
        let held = stream.until("all results and the end", |held| {
            held.is("waiting") && held.parts_of("tool-result").len() == before + count
        });
        held.await.parts_of("tool-result").split_off(before)
    }

    /// One call.
    async fn call(&self, h: &Harness, name: &str, args: Value) -> Value {
        self.calls(h, vec![(name, args)]).await.remove(0)
    }

    /// Stops the workspace, so that nothing of it is left.
    async fn end(self) {
        let path = format!("/api/v2/workspaces/{}", self.workspace);
        self.api.post(&format!("{path}/builds"), json!({ "transition": "delete" })).await.json(201);
        eventually("the workspace is gone", async || (self.api.get(&path).await.status == 404).then_some(()))
            .await;
    }
}

/// The error text of a result that is one.
fn error(result: &Value) -> &str {
    assert_eq!(result["is_error"], json!(true), "{result}");
    result["result"]["error"].as_str().unwrap_or_else(|| panic!("no error: {result}"))
}

/// The result of a call that worked.
fn ok(result: &Value) -> &Value {
    assert_ne!(result["is_error"], json!(true), "{result}");
    &result["result"]
}
