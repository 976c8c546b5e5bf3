//! Agents that link: a real `chatd agent`, started by the daemon or by a person.

use super::{build, create, has_status, path, printed};
use crate::support::{both, client::Api, outside::eventually};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::process::Command;

/// Waits for a status of the workspace's agent.
async fn agent_is(api: &Api, workspace: &Value, status: &str) -> Value {
    let path = path(workspace);
    eventually(status, async || {
        let agent = api.get(&path).await.json(200)["agents"][0].clone();
        (agent["status"] == status).then_some(agent)
    })
    .await
}

/// Whether a process lives.
fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

both! {
    async fn the_daemon_starts_an_agent_on_its_host(h: Harness) {
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let made = create(&api, "dev", "local").await;
        has_status(&api, &made, "running").await;
        let agent = agent_is(&api, &made, "connected").await;
        let id = made["id"].as_str().expect("an id").to_owned();
        let folder = daemon.data_dir().join("workspaces").join(&id);
        assert_eq!(
            (&agent["operating_system"], &agent["directory"]),
            (&json!("linux"), &json!(folder.canonicalize().expect("a folder").display().to_string()))
        );
        let note = std::fs::read_to_string(daemon.data_dir().join("agents").join(&id)).expect("a note");
        let pid = note.split(' ').next().expect("an id").to_owned();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).expect("a process");
        assert!(!String::from_utf8_lossy(&command).contains("chatd-agent-"), "its token can be seen");
        // It outlives the daemon and comes back.
        daemon.stop().await;
        assert!(is_alive(&pid));
        daemon.restart().await;
        agent_is(&api, &made, "connected").await;
        std::fs::write(folder.join("kept"), "x").expect("write a file");
        let stop = build(&api, &made, "stop").await;
        has_status(&api, &made, "stopped").await;
        assert!(!is_alive(&pid), "{:?}", printed(&api, &stop).await);
        build(&api, &made, "start").await;
        has_status(&api, &made, "running").await;
        agent_is(&api, &made, "connected").await;
        assert!(folder.join("kept").exists());
        build(&api, &made, "delete").await;
        let path = path(&made);
        eventually("the end", async || (api.get(&path).await.status == 404).then_some(())).await;
        assert!(!folder.exists() && !daemon.data_dir().join("agents").join(&id).exists());
    }

    async fn a_person_starts_an_agent(h: Harness) {
        h.configure("[[templates]]\nname = \"mine\"\nkind = \"external\"\n");
        let daemon = h.daemon().await;
        let api = daemon.api();
        let made = create(&api, "dev", "mine").await;
        let running = has_status(&api, &made, "running").await;
        let id = running["agents"][0]["id"].as_str().expect("an id").to_owned();
        let token = api.post(&format!("/api/v2/workspaceagents/{id}/token"), json!({})).await.json(201);
        let mut agent = Command::new(env!("CARGO_BIN_EXE_chatd"))
            .args(["agent", "--url", daemon.url(), "--name", "laptop", "--dir"])
            .arg(h.folder())
            .env("CHATD_AGENT_TOKEN", token["token"].as_str().expect("a token"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("start the agent");
        let connected = agent_is(&api, &made, "connected").await;
        assert!(connected["first_connected_at"].is_string() && connected.get("disconnected_at").is_none());
        agent.kill().await.expect("kill the agent");
        let gone = agent_is(&api, &made, "disconnected").await;
        assert!(gone["disconnected_at"].is_string(), "{gone}");
    }
}
