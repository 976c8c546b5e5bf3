//! Agents that link: a real `chatd agent`, started by the daemon or by a person.

use super::{allow_builds, build, create, has_status, path, printed, refuse_builds};
use crate::support::{
    Engine, both,
    client::Api,
    daemon::DaemonProcess,
    outside::{eventually, within},
    run_within,
};
use futures_util::{SinkExt as _, StreamExt as _};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

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

/// The process of the agent that the daemon has started for a workspace.
fn process_of(daemon: &DaemonProcess, workspace: &Value) -> Pid {
    let note = daemon.data_dir().join("agents").join(workspace["id"].as_str().expect("an id"));
    let note = std::fs::read_to_string(note).expect("a note");
    Pid::from_raw(note.split(' ').next().and_then(|id| id.parse().ok()).expect("a process id"))
}

/// A template whose agent a person starts.
const MINE: &str = "[[templates]]\nname = \"mine\"\nkind = \"external\"\n";

/// A workspace of it, and the token for its agent.
async fn external(api: &Api) -> (Value, String) {
    let made = create(api, "dev", "mine").await;
    let running = has_status(api, &made, "running").await;
    let id = running["agents"][0]["id"].as_str().expect("an id");
    let token = api.post(&format!("/api/v2/workspaceagents/{id}/token"), json!({})).await.json(201);
    (made, token["token"].as_str().expect("a token").to_owned())
}

/// Ends an agent as a start of its host would.
async fn kill_9(pid: Pid) {
    kill(pid, Signal::SIGKILL).expect("end the agent");
    eventually("its end", async || (!is_alive(&pid.to_string())).then_some(())).await;
}

/// As when a replica with another data folder takes the stop on: it has no note of the agent, and ends nothing.
#[test]
fn an_agent_that_nobody_ends_any_more_ends_itself() {
    run_within(Duration::from_secs(120), Engine::Sqlite, "nobody_ends", |h| async move {
        h.configure("[[templates]]\nname = \"box\"\nkind = \"local\"\n");
        let daemon = h.daemon().await;
        let api = daemon.api();
        let made = create(&api, "alone", "box").await;
        has_status(&api, &made, "running").await;
        agent_is(&api, &made, "connected").await;
        let pid = process_of(&daemon, &made).to_string();
        let note = daemon.data_dir().join("agents").join(made["id"].as_str().expect("an id"));
        std::fs::remove_file(note).expect("it was there");
        build(&api, &made, "stop").await;
        has_status(&api, &made, "stopped").await;
        assert!(is_alive(&pid), "the stop has not ended it");
        within(Duration::from_secs(100), "its end", async || (!is_alive(&pid)).then_some(())).await;
    });
}

both! {
    async fn the_daemon_starts_what_its_host_has_lost(h: Harness) {
        h.configure("[[templates]]\nname = \"box\"\nkind = \"local\"\n[[templates]]\nname = \"other\"\nkind = \"local\"\n");
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let mut made = Vec::new();
        for (name, template) in [("lost", "box"), ("kept", "box"), ("stopped", "box"), ("orphan", "other"), ("broken", "box")] {
            let workspace = create(&api, name, template).await;
            has_status(&api, &workspace, "running").await;
            agent_is(&api, &workspace, "connected").await;
            made.push(workspace);
        }
        let [lost, kept, stopped, orphan, broken] = made.try_into().expect("five");
        build(&api, &stopped, "stop").await;
        has_status(&api, &stopped, "stopped").await;
        let folder = |workspace: &Value| daemon.data_dir().join("workspaces").join(workspace["id"].as_str().expect("an id"));
        std::fs::write(folder(&lost).join("kept"), "x").expect("write a file");
        let (folder_of_lost, broken_folder) = (folder(&lost), folder(&broken));
        daemon.stop().await;
        for workspace in [&lost, &orphan, &broken] {
            kill_9(process_of(&daemon, workspace)).await;
        }
        std::fs::remove_dir_all(&broken_folder).expect("it was made");
        std::fs::write(&broken_folder, "in the way").expect("write a file");
        daemon.configure("templates = [{ name = \"box\", kind = \"local\" }]\n");
        daemon.restart().await;
        let api = daemon.api();
        let again = eventually("another start", async || {
            let now = api.get(&path(&lost)).await.json(200);
            (now["status"] == "running" && now["latest_build"]["build_number"] == 2).then_some(now)
        })
        .await;
        let build_of = |workspace: &Value| {
            let build = &workspace["latest_build"];
            (build["build_number"].clone(), build["transition"].clone(), build["reason"].clone())
        };
        assert_eq!(build_of(&again), (json!(2), json!("start"), json!("operator")));
        agent_is(&api, &lost, "connected").await;
        assert!(folder_of_lost.join("kept").exists());
        // One that cannot be started says why.
        let failed = has_status(&api, &broken, "failed").await;
        let error = failed["latest_build"]["error"].as_str().unwrap_or_default();
        assert!(error.contains("could not be made"), "{failed}");
        // One that nobody may start is stopped.
        assert_eq!(build_of(&has_status(&api, &orphan, "stopped").await), (json!(2), json!("stop"), json!("autostop")));
        // Those that did not run, or run, are left alone.
        assert_eq!(build_of(&has_status(&api, &stopped, "stopped").await).0, json!(2));
        assert_eq!(build_of(&has_status(&api, &kept, "running").await).0, json!(1));
        agent_is(&api, &kept, "connected").await;
        for workspace in [&lost, &kept] {
            build(&api, workspace, "delete").await;
            eventually("the end", async || (api.get(&path(workspace)).await.status == 404).then_some(())).await;
        }
    }

    /// It is killed while it watches whether the agent ends at once.
    async fn a_start_whose_daemon_was_killed_has_started_if_its_agent_has(h: Harness) {
        let mut daemon = h.daemon().await;
        let made = create(&daemon.api(), "dev", "local").await;
        let note = daemon.data_dir().join("agents").join(made["id"].as_str().expect("an id"));
        eventually("the agent is started", async || note.exists().then_some(())).await;
        daemon.kill_9().await;
        let agent = process_of(&daemon, &made);
        daemon.restart().await;
        let api = daemon.api();
        let running = has_status(&api, &made, "running").await;
        assert_eq!(running["latest_build"]["build_number"], 1, "{running}");
        agent_is(&api, &made, "connected").await;
        assert_eq!(process_of(&daemon, &made), agent);
        build(&api, &made, "stop").await;
        has_status(&api, &made, "stopped").await;
        assert!(!is_alive(&agent.to_string()));
    }

    async fn a_start_that_the_store_refused_is_tried_again(h: Harness) {
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let mut made = Vec::new();
        // In the order in which they are looked at.
        for name in ["first", "second", "third"] {
            let workspace = create(&api, name, "local").await;
            has_status(&api, &workspace, "running").await;
            made.push(workspace);
        }
        daemon.stop().await;
        for workspace in &made {
            kill_9(process_of(&daemon, workspace)).await;
        }
        refuse_builds(&h, &daemon, &made[0]).await;
        daemon.restart().await;
        let api = daemon.api();
        let build_of = async |workspace: &Value| {
            let now = api.get(&path(workspace)).await.json(200);
            (now["latest_build"]["build_number"].clone(), now["latest_build"]["transition"].clone(), now["status"].clone())
        };
        let again = (json!(2), json!("start"), json!("running"));
        for workspace in &made[1..] {
            eventually("another start", async || (build_of(workspace).await == again).then_some(())).await;
        }
        assert_eq!(build_of(&made[0]).await.0, 1);
        allow_builds(&h, &daemon).await;
        within(Duration::from_secs(40), "the start that was refused", async || {
            (build_of(&made[0]).await == again).then_some(())
        })
        .await;
        for workspace in &made {
            build(&api, workspace, "delete").await;
            eventually("the end", async || (api.get(&path(workspace)).await.status == 404).then_some(())).await;
        }
    }

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

    async fn an_agent_that_speaks_before_it_is_asked_is_cut_off(h: Harness) {
        h.configure(MINE);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (made, token) = external(&api).await;
        let url = format!("{}/api/v2/workspaceagents/me/link", daemon.url().replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a URL");
        let bearer = format!("Bearer {token}");
        request.headers_mut().insert("authorization", bearer.parse().expect("plain text"));
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("a handshake");
        // As little as the settings of HTTP/2 is kept for the first request; who goes on is not read from for ever.
        for _ in 0..2 {
            socket.send(Message::binary(b"garbage".repeat(500))).await.expect("send");
        }
        let end = async {
            loop {
                // The library answers pings while it is read from.
                if let Message::Close(frame) = socket.next().await.expect("a close frame").expect("a message") {
                    return frame.expect("a reason");
                }
            }
        };
        let end = tokio::time::timeout(Duration::from_secs(30), end).await.expect("its end");
        assert_eq!((u16::from(end.code), end.reason.as_str()), (1008, "Nobody takes what was sent: an agent speaks when it is asked"));
        agent_is(&api, &made, "disconnected").await;
    }

    async fn a_person_starts_an_agent(h: Harness) {
        h.configure(MINE);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (made, token) = external(&api).await;
        let mut agent = Command::new(env!("CARGO_BIN_EXE_chatd"))
            .args(["agent", "--url", daemon.url(), "--name", "laptop", "--dir"])
            .arg(h.folder())
            .env("CHATD_AGENT_TOKEN", token)
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

#[test]
fn an_agent_that_ends_while_the_daemon_runs_leaves_its_workspace_stopped() {
    run_within(Duration::from_secs(180), Engine::Sqlite, "agent_ended", |h| async move {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let made = create(&api, "dev", "local").await;
        has_status(&api, &made, "running").await;
        agent_is(&api, &made, "connected").await;
        // It was heard of, so it is not taken for one that has ended before the daemon's start.
        kill_9(process_of(&daemon, &made)).await;
        let stopped = within(Duration::from_secs(80), "it is found", async || {
            let now = api.get(&path(&made)).await.json(200);
            (now["status"] == "stopped").then_some(now)
        })
        .await;
        assert_eq!(stopped["latest_build"]["reason"], "autostop");
        build(&api, &made, "start").await;
        has_status(&api, &made, "running").await;
        build(&api, &made, "delete").await;
        eventually("the end", async || (api.get(&path(&made)).await.status == 404).then_some(())).await;
    });
}
