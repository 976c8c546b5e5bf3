//! A workspace whose agent the test has started, as a person would, so that it can be frozen, killed and started again.

use super::{Bound, template};
use crate::support::{
    Harness,
    daemon::DaemonProcess,
    outside::{eventually, within},
    turns::id,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use std::{process::Stdio, time::Duration};
use tokio::process::{Child, Command};

/// The process of an agent that does the work: the one child of the other.
pub fn worker(supervisor: i32) -> Pid {
    let path = format!("/proc/{supervisor}/task/{supervisor}/children");
    let children = std::fs::read_to_string(path).expect("the supervisor runs");
    Pid::from_raw(children.trim().parse().unwrap_or_else(|e| panic!("{children:?}: {e}")))
}

/// An agent of the test's own.
pub struct Person {
    pub bound: Bound,
    url: String,
    token: String,
    home: tempfile::TempDir,
    agent: Option<Child>,
}

impl Person {
    /// Makes the workspace, starts its agent and makes a chat there.
    pub async fn make(h: &Harness, daemon: &DaemonProcess, name: &str) -> Self {
        let api = daemon.api();
        let template_id = template(&api, "person").await;
        let body = json!({ "name": name, "template_id": template_id });
        let workspace = id(&api.post("/api/v2/workspaces", body).await.json(201));
        let path = format!("/api/v2/workspaces/{workspace}");
        let agent = eventually("the build", async || {
            let now = api.get(&path).await.json(200);
            now["agents"][0]["id"].as_str().map(str::to_owned)
        })
        .await;
        let token = api.post(&format!("/api/v2/workspaceagents/{agent}/token"), json!({})).await.json(201);
        let home = tempfile::Builder::new().prefix("chatd-person-").tempdir_in(h.folder()).expect("a folder");
        let folder = home.path().canonicalize().expect("it is there").display().to_string();
        let bound = Bound { api, chat: String::new(), workspace, folder };
        let token = token["token"].as_str().expect("a token").to_owned();
        let mut person = Self { bound, url: daemon.url().to_owned(), token, home, agent: None };
        person.start().await;
        let body = json!({
            "workspace_id": person.bound.workspace,
            "content": [{ "type": "text", "text": "Hello" }],
        });
        person.bound.chat = id(&person.bound.api.create_chat_with(body).await);
        person
    }

    /// Starts the agent, which must not run, and waits until it is there.
    pub async fn start(&mut self) {
        assert!(self.agent.is_none(), "it runs");
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatd"));
        command.args(["agent", "--url", &self.url, "--name", "own", "--dir"]).arg(self.home.path());
        command.env_clear().env("HOME", self.home.path()).env("CHATD_AGENT_TOKEN", &self.token);
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        self.agent = Some(command.spawn().expect("start the agent"));
        self.bound.has_agent("connected").await;
    }

    /// The process that watches over the agent.
    fn supervisor(&self) -> Pid {
        let id = self.agent.as_ref().and_then(Child::id).expect("it runs");
        Pid::from_raw(i32::try_from(id).expect("a process id"))
    }

    /// The process that does the work: the one child of the other.
    pub fn worker(&self) -> Pid {
        worker(self.supervisor().as_raw())
    }

    /// Kills the process that does the work, and waits until all that it has started is gone too.
    pub async fn kill(&mut self) {
        kill(self.worker(), Signal::SIGKILL).expect("kill the agent");
        let mut agent = self.agent.take().expect("it runs");
        within(Duration::from_secs(20), "the end of the agent", async || agent.try_wait().expect("wait"))
            .await;
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(&mut self) {
        kill(self.supervisor(), Signal::SIGTERM).expect("signal the agent");
        let mut agent = self.agent.take().expect("it runs");
        within(Duration::from_secs(20), "the end of the agent", async || agent.try_wait().expect("wait"))
            .await;
    }
}
