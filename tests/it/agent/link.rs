//! The link of a real agent: dialled for ever, half-open ones given up, and nothing left behind.

use super::far_end::{AgentProcess, FarEnd, TOKEN};
use crate::support::outside::{chatd, eventually, memory_kib, within};
use hyper::StatusCode;
use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::json;
use std::{fs, path::Path, time::Duration};
use tokio::time::Instant;

#[tokio::test]
async fn wrong_usage_is_told() {
    let home = tempfile::tempdir().unwrap();
    for (args, said) in [
        (&["agent"][..], "give --url or set CHATD_URL"),
        (&["agent", "--url", "http://h"], "give --token or set CHATD_AGENT_TOKEN"),
        (&["agent", "--url", "h:1", "--token", "t"], "no address of a daemon"),
        (&["agent", "--url", "http://h", "--token", "t", "--dir", "none"], "there is no folder"),
    ] {
        let ran = chatd(home.path(), args).await;
        assert_eq!(ran.status, 2, "{args:?}");
        assert!(ran.err.contains(said) && ran.out.is_empty(), "{args:?}: {}", ran.err);
    }
}

#[tokio::test]
async fn a_lost_link_is_dialled_again_and_processes_survive_it() {
    let far = FarEnd::start().await;
    let agent = AgentProcess::start(&far.url());
    far.refuse(StatusCode::UNAUTHORIZED).await;
    far.refuse(StatusCode::SERVICE_UNAVAILABLE).await;
    let link = far.link().await;
    assert!(
        link.target.starts_with("/api/v2/workspaceagents/me/link?name=test+agent&version="),
        "{}",
        link.target
    );
    assert!(link.target.contains("&os=linux&arch="), "{}", link.target);
    let folder = agent.folder.path().canonicalize().unwrap();
    let body =
        json!({"command": "echo $$ > pid; echo up; tr '\\0' '\\n' </proc/$PPID/environ 2>&1; sleep 600"});
    let call = link.client.tool_call("c1");
    let started = call.post("processes/start", body.clone()).await.ok();
    let id = started["id"].as_str().unwrap().to_owned();
    eventually("it runs", async || fs::read_to_string(folder.join("pid")).ok().filter(|id| !id.is_empty()))
        .await;
    // Whoever waits loses its link; the process goes on.
    let waiting = link.client.clone();
    let path = format!("processes/{id}/output?wait=true");
    let waiter = tokio::spawn(async move {
        waiting.try_call(hyper::Method::GET, &path, bytes::Bytes::new()).await.is_err()
    });
    link.cut();
    assert!(waiter.await.unwrap());
    let link = far.link().await;
    assert_eq!(link.client.tool_call("c1").post("processes/start", body).await.ok(), started);
    let output = link.client.get(&format!("processes/{id}/output")).await.ok();
    assert_eq!(output["running"], true);
    assert!(output["output"].as_str().unwrap().starts_with("up\n"));
    assert!(!output["output"].as_str().unwrap().contains(TOKEN) || nix::unistd::geteuid().is_root());
    assert_eq!(agent.end(Signal::SIGTERM).await, Some(143));
    assert_none_in(&folder).await;
}

#[tokio::test]
async fn a_half_open_link_is_given_up_within_20_seconds() {
    let far = FarEnd::start().await;
    let agent = AgentProcess::start(&far.url());
    let silent = far.half_open().await;
    let since = Instant::now();
    let link = far.link().await;
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    drop(silent);
    assert_eq!(link.client.get("reachable").await.ok()["name"], "test agent");
    assert_eq!(agent.end(Signal::SIGINT).await, Some(130));
}

/// Ids of running processes whose working directory is the folder: commands of the agent.
fn commands_in(folder: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let here =
        processes.filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder));
    here.map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}

async fn assert_none_in(folder: &Path) {
    eventually("nothing is left", async || commands_in(folder).is_empty().then_some(())).await;
}

/// The agent's process below its supervisor.
fn child_of(parent: Pid) -> Option<Pid> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok()).find_map(|pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let own: i32 = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
        (own == parent.as_raw()).then_some(Pid::from_raw(pid))
    })
}

#[tokio::test]
async fn no_ending_leaves_a_process() {
    enum Ending {
        Term,
        KillSupervisor,
        KillAgent,
    }
    for ending in [Ending::Term, Ending::KillSupervisor, Ending::KillAgent] {
        let far = FarEnd::start().await;
        let mut agent = AgentProcess::start(&far.url());
        let link = far.link().await;
        let folder = agent.folder.path().canonicalize().unwrap();
        let deaf = "trap '' TERM; echo up > up; while :; do sleep 1; done";
        // One that leaves its group and its session, too.
        let line = format!("setsid sh -c \"{deaf}\" & {deaf}");
        link.client.post("processes/start", json!({"command": line})).await.ok();
        eventually("it runs", async || folder.join("up").exists().then_some(())).await;
        eventually("both run", async || (commands_in(&folder).len() >= 2).then_some(())).await;
        match ending {
            Ending::Term => assert_eq!(agent.end(Signal::SIGTERM).await, Some(143)),
            Ending::KillSupervisor => assert_eq!(agent.end(Signal::SIGKILL).await, None),
            Ending::KillAgent => {
                nix::sys::signal::kill(child_of(agent.pid()).expect("it has one"), Signal::SIGKILL).unwrap();
                assert_eq!(agent.ended().await, Some(1));
            }
        }
        assert_none_in(&folder).await;
    }
}

#[tokio::test]
async fn ten_thousand_processes_are_started_and_reaped() {
    let far = FarEnd::start().await;
    let agent = AgentProcess::start(&far.url());
    let link = far.link().await;
    let worker = child_of(agent.pid()).expect("the agent runs");
    // No command can wait on the terminal of whoever has started the agent.
    let session = |of: Pid| nix::unistd::getsid(Some(of)).expect("it runs");
    assert_eq!((session(worker), session(agent.pid())), (worker, session(Pid::this())));
    let mut before = 0;
    for round in 0..100 {
        let starts = (0..100).map(|_| async {
            // Each leaves an orphan that has ended before it.
            let line = "(true &) ; exec true";
            let id = link.client.post("processes/start", json!({"command": line})).await.ok();
            let path = format!("processes/{}/output?wait=true", id["id"].as_str().unwrap());
            assert_eq!(link.client.get(&path).await.ok()["exit_code"], 0);
        });
        futures_util::future::join_all(starts).await;
        if round == 20 {
            before = memory_kib(worker);
        }
    }
    let after = memory_kib(worker);
    assert!(after < before + 16 * 1024, "{before} KiB, then {after} KiB");
    let zombies = |parent: Pid| {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
        stats
            .filter(|stat| {
                let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
                fields.next() == Some("Z") && fields.next() == Some(parent.to_string().as_str())
            })
            .count()
    };
    within(Duration::from_secs(10), "all are reaped", async || {
        (zombies(worker) + zombies(agent.pid()) == 0).then_some(())
    })
    .await;
    assert_eq!(agent.end(Signal::SIGTERM).await, Some(143));
}

#[tokio::test]
async fn it_runs_as_a_user_with_few_rights() {
    if !nix::unistd::geteuid().is_root() {
        // Then every other test shows it.
        return;
    }
    let far = FarEnd::start().await;
    let agent = AgentProcess::start_as_nobody(&far.url());
    let link = far.link().await;
    let line = "id -u; cat /proc/$PPID/environ; for p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/environ; done 2>&1 | grep -c canary";
    let id = link.client.post("processes/start", json!({"command": line})).await.ok();
    let path = format!("processes/{}/output?wait=true", id["id"].as_str().unwrap());
    let output = link.client.get(&path).await.ok();
    let text = output["output"].as_str().unwrap();
    assert!(
        text.starts_with("65534\n") && text.contains("Permission denied") && text.ends_with("\n0\n"),
        "{text}"
    );
    assert!(!text.contains(TOKEN), "{text}");
    for path in ["/etc/chatd-test", "/root/x/y"] {
        link.client.post_bytes(&format!("write-file?path={path}"), bytes::Bytes::new()).await.refused(403);
    }
    link.client.get("read-file?path=/etc/shadow").await.refused(403);
    assert_eq!(agent.end(Signal::SIGTERM).await, Some(143));
}
