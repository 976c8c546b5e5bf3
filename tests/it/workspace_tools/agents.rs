//! Agents that are killed, frozen, started anew and replaced while a chat works with them.

use super::{Bound, LOCAL, error, ok, person::Person};
use crate::support::{
    Engine, Harness, both,
    fake_model::{calls, says},
    outside::{eventually, freeze, stays, thaw},
    run_within,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use std::{fs, time::Duration};
use tokio::time::Instant;

/// A command that says that it runs, and then waits for the file `go`.
const WAITS: &str = "echo started >>marks; while ! test -e go; do sleep 0.05; done; echo ended";

/// Has the model run [`WAITS`], and waits until it runs.
async fn runs(h: &Harness, bound: &Bound, timeout: &str) {
    h.model.push([calls("execute", json!({ "command": WAITS, "timeout": timeout })), says("Done.")]);
    bound.api.send(&bound.chat, "Run it.").await;
    let marks = format!("{}/marks", bound.folder);
    eventually("the command has begun", async || fs::exists(&marks).unwrap().then_some(())).await;
}

fn marks(bound: &Bound) -> String {
    fs::read_to_string(format!("{}/marks", bound.folder)).unwrap()
}

async fn person(h: &Harness, name: &str) -> (crate::support::daemon::DaemonProcess, Person) {
    h.configure(LOCAL);
    h.model.push([says("Hi.")]);
    let daemon = h.daemon().await;
    let person = Person::make(h, &daemon, name).await;
    person.bound.ends("Hi.").await;
    (daemon, person)
}

/// The two processes of the agent that the daemon has started for a workspace.
fn both_processes(daemon: &crate::support::daemon::DaemonProcess, workspace: &str) -> [Pid; 2] {
    let note = fs::read_to_string(daemon.data_dir().join("agents").join(workspace)).expect("a note");
    let supervisor: i32 = note.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process id");
    let below = fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let command = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        (status.contains(&format!("PPid:\t{supervisor}\n")) && command.contains("--supervised"))
            .then_some(pid)
    });
    [supervisor, below.expect("the agent below its supervisor")].map(Pid::from_raw)
}

both! {
    async fn what_both_processes_of_an_agent_leave_behind_ends_with_their_workspace(h: Harness) {
        h.configure(LOCAL);
        h.model.push([says("Hi.")]);
        let daemon = h.daemon().await;
        let bound = Bound::make(&daemon, "both").await;
        bound.ends("Hi.").await;
        // It has left the group of its command before that ends.
        let command = "setsid sh -c 'echo >left; exec sleep 1000' >/dev/null 2>&1 & \
                       while ! test -e left; do sleep 0.02; done; echo $!";
        let left = ok(&bound.call(&h, "execute", json!({ "command": command })).await)["output"].clone();
        let left: i32 = left.as_str().and_then(|pid| pid.trim().parse().ok()).expect("a process id");
        let processes = both_processes(&daemon, &bound.workspace);
        // Neither sees the other's end.
        for pid in &processes {
            freeze(*pid).await;
        }
        processes.iter().for_each(|pid| kill(*pid, Signal::SIGKILL).expect("it runs"));
        bound.has_agent("disconnected").await;
        assert!(kill(Pid::from_raw(left), None).is_ok(), "nobody ended it");
        bound.end().await;
        let is_gone = || fs::read_to_string(format!("/proc/{left}/stat")).map_or(true, |stat| stat.contains(") Z "));
        eventually("its end", async || is_gone().then_some(())).await;
    }

    async fn a_command_whose_agent_is_killed_is_told_and_not_started_again(h: Harness) {
        let (_daemon, mut person) = person(&h, "killed").await;
        let bound = person.bound.clone();
        runs(&h, &bound, "60s").await;
        person.kill().await;
        person.start().await;
        bound.ends("Done.").await;
        let result = bound.results(1).await.remove(0);
        let why = error(&result);
        assert!(why.contains("Nobody knows how far it came"), "{why}");
        assert_eq!(marks(&bound), "started\n");
        // The chat goes on with the new one.
        assert_eq!(ok(&bound.call(&h, "execute", json!({ "command": "echo new" })).await)["output"], "new\n");
        assert_eq!(ok(&bound.call(&h, "process_list", json!({})).await)["processes"].as_array().map(Vec::len), Some(1));
        person.stop().await;
    }

    async fn a_daemon_that_stops_lets_a_command_come_to_its_end(h: Harness) {
        let (mut daemon, mut person) = person(&h, "graceful").await;
        let bound = person.bound.clone();
        runs(&h, &bound, "60s").await;
        let since = Instant::now();
        daemon.sigterm();
        eventually("it takes nothing new", async || (bound.api.get("//readyz").await.status == 503).then_some(())).await;
        fs::write(format!("{}/go", bound.folder), "").unwrap();
        assert_eq!(daemon.wait().await.code(), Some(143));
        assert!(since.elapsed() < Duration::from_secs(20), "it has waited for more than the command");
        daemon.restart().await;
        // The command's result was kept before; the next step is the first of the daemon that goes on.
        bound.ends("Done.").await;
        assert_eq!(ok(&bound.results(1).await[0])["output"], "ended\n");
        assert_eq!(marks(&bound), "started\n");
        person.stop().await;
    }

    async fn an_agent_that_is_started_anew_between_two_calls_serves_the_second(h: Harness) {
        let (_daemon, mut person) = person(&h, "anew").await;
        let bound = person.bound.clone();
        let file = format!("{}/f", bound.folder);
        for round in ["one", "two", "three"] {
            let begun = Instant::now();
            let write = json!({ "command": format!("echo {round} >>f; cat f") });
            let ran = bound.call(&h, "execute", write).await;
            assert_eq!(ok(&ran)["output"], json!(fs::read_to_string(&file).unwrap()));
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            match round {
                "one" => person.stop().await,
                _ => person.kill().await,
            }
            bound.has_agent("disconnected").await;
            if round != "three" {
                person.start().await;
            }
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\nthree\n");
        // Nobody but its user brings it back: that is told at once.
        let begun = Instant::now();
        let refused = bound.call(&h, "execute", json!({ "command": "true" })).await;
        assert!(error(&refused).contains("is external and is disconnected"), "{refused}");
        let started = bound.call(&h, "start_workspace", json!({})).await;
        let started = ok(&started);
        assert_eq!((&started["no_build"], &started["agent_status"]), (&json!(true), &json!("not_ready")), "{started}");
        let why = started["agent_error"].as_str().unwrap_or_default();
        assert!(why.contains("is external and is disconnected: the user has to reconnect it"), "{started}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_frozen_agent_is_noticed_and_its_command_gone_on_with() {
    run_within(Duration::from_secs(120), Engine::Sqlite, "frozen", |h| async move {
        let (_daemon, mut person) = person(&h, "frozen").await;
        let bound = person.bound.clone();
        runs(&h, &bound, "90s").await;
        freeze(person.worker()).await;
        let frozen = Instant::now();
        bound.has_agent("disconnected").await;
        let took = frozen.elapsed();
        assert!(took < Duration::from_secs(22), "a half-open link is found within 20 s, not {took:?}");
        fs::write(format!("{}/go", bound.folder), "").unwrap();
        thaw(person.worker());
        bound.ends("Done.").await;
        let result = bound.results(1).await.remove(0);
        assert_eq!(
            (&ok(&result)["exit_code"], &ok(&result)["output"]),
            (&json!(0), &json!("ended\n")),
            "{result}"
        );
        assert_eq!(marks(&bound), "started\n");
        person.stop().await;
    });
}

#[test]
fn an_agent_that_freezes_for_a_moment_loses_nothing() {
    run_within(Duration::from_secs(60), Engine::Sqlite, "moment", |h| async move {
        let (_daemon, mut person) = person(&h, "moment").await;
        let bound = person.bound.clone();
        freeze(person.worker()).await;
        h.model.push([calls("execute", json!({ "command": "echo awake" })), says("Done.")]);
        let (begun, before) = (Instant::now(), h.turns());
        bound.api.send(&bound.chat, "Run it.").await;
        // It is asked for its tools, and the link is not given up at once.
        stays(Duration::from_secs(4), "the model is not asked yet", async || h.turns() == before).await;
        thaw(person.worker());
        bound.ends("Done.").await;
        assert_eq!(ok(&bound.results(1).await[0])["output"], "awake\n");
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        person.stop().await;
    });
}

#[test]
fn a_dial_switches_to_the_agent_of_a_new_build() {
    run_within(Duration::from_secs(90), Engine::Sqlite, "replaced", |h| async move {
        h.configure(LOCAL);
        h.model.push([says("Hi.")]);
        let daemon = h.daemon().await;
        let bound = Bound::make(&daemon, "replaced").await;
        bound.ends("Hi.").await;
        assert_eq!(ok(&bound.call(&h, "execute", json!({ "command": "echo old" })).await)["output"], "old\n");
        let old = bound.api.chat(&bound.chat).await["agent_id"].clone();
        // Killed from outside, nobody starts it again.
        let note =
            fs::read_to_string(daemon.data_dir().join("agents").join(&bound.workspace)).expect("a note");
        let pid = note.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill the agent");
        bound.has_agent("disconnected").await;
        let begun = Instant::now();
        h.model.push([calls("execute", json!({ "command": "echo new" })), says("Done.")]);
        let before = h.turns();
        bound.api.send(&bound.chat, "Again.").await;
        h.turn(before).await;
        let path = format!("/api/v2/workspaces/{}/builds", bound.workspace);
        bound.api.post(&path, json!({ "transition": "start" })).await.json(201);
        bound.ends("Done.").await;
        assert_eq!(ok(&bound.results(2).await[1])["output"], "new\n");
        assert!(begun.elapsed() < Duration::from_secs(20), "it was not waited for: {:?}", begun.elapsed());
        let chat = bound.api.chat(&bound.chat).await;
        assert!(chat["agent_id"].is_string() && chat["agent_id"] != old, "{chat}");
        bound.end().await;
    });
}
