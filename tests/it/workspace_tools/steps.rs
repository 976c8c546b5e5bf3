//! Steps with several calls, calls that print oddly, calls that are cut off.

use super::{Bound, LOCAL, ok};
use crate::support::{
    Harness, both,
    fake_model::{Reply, calls, says},
    outside::eventually,
};
use serde_json::{Value, json};
use std::{path::Path, process::Command};

/// Outcomes that the journal holds.
const KEPT: &str = "SELECT count(*) AS n FROM tool_journal WHERE outcome IS NOT NULL";

/// Lines of a file that a command makes.
fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

/// A command that says that it ran, and then stays until the file `go` is there.
fn marks_and_stays(marker: &Path, go: &Path) -> Value {
    let command = format!(
        "echo ran >> {}; until test -e {}; do sleep 0.02; done; echo over",
        marker.display(),
        go.display()
    );
    json!({ "command": command, "timeout": "60s" })
}

/// A chat at rest that is bound to a workspace.
async fn bound(h: &Harness, daemon: &crate::support::daemon::DaemonProcess, name: &str) -> Bound {
    h.model.push([says("Hi.")]);
    let bound = Bound::make(daemon, name).await;
    bound.api.stream(&bound.chat, None).await.settled().await;
    bound
}

both! {
    async fn parallel_calls_are_committed_in_the_order_of_the_calls(h: Harness) {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "parallel").await;
        let results = bound
            .calls(&h, vec![
                ("execute", json!({ "command": "while ! test -e go; do :; done; echo slow", "timeout": "20s" })),
                ("execute", json!({ "command": "touch go; echo fast", "timeout": "5s" })),
                ("no_such_tool", json!({})),
            ])
            .await;
        assert_eq!((&ok(&results[0])["output"], &ok(&results[1])["output"]), (&json!("slow\n"), &json!("fast\n")));
        assert!(crate::workspace_tools::error(&results[2]).contains("no_such_tool"));
        let history = bound.api.history(&bound.chat).await;
        let called = history.iter().flat_map(|m| m["content"].as_array().cloned().unwrap_or_default());
        let commands: Vec<Value> = called.filter(|p| p["type"] == "tool-call").map(|p| p["parsed_commands"].clone()).collect();
        assert_eq!(commands[1], json!([["touch", "go"], ["echo", "fast"]]));
        bound.end().await;
    }

    async fn what_a_command_prints_is_shown_as_far_as_it_is_text(h: Harness) {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "odd").await;
        let results = bound
            .calls(&h, vec![
                ("execute", json!({ "command": "printf 'a\\000b\\377c'" })),
                ("execute", json!({ "command": "printf 'ä👍'" })),
            ])
            .await;
        let shown = ok(&results[0])["output"].as_str().expect("text");
        assert!(shown.starts_with('a') && shown.ends_with('c'), "{shown:?}");
        assert_eq!(ok(&results[1])["output"], json!("ä👍"));
        bound.end().await;
    }

    async fn an_interrupt_ends_the_wait_for_a_command(h: Harness) {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "interrupt").await;
        h.model.push([calls("execute", json!({ "command": "echo began > mark; sleep 600", "timeout": "10m" }))]);
        bound.api.send(&bound.chat, "Wait.").await;
        let mark = Path::new(&bound.folder).join("mark");
        eventually("the command runs", async || mark.exists().then_some(())).await;
        bound.api.interrupt(&bound.chat).await;
        let mut stream = bound.api.stream(&bound.chat, None).await;
        let held = stream.until("the end", |held| held.is("waiting") && !held.parts_of("tool-result").is_empty()).await;
        assert_eq!(held.parts_of("tool-result")[0]["is_error"], json!(true));
        // The process is left to the agent, and the model can see and end it.
        let list = bound.call(&h, "process_list", json!({})).await;
        let process = ok(&list)["processes"][0].clone();
        assert_eq!(process["running"], json!(true), "{process}");
        bound.call(&h, "process_signal", json!({ "process_id": process["id"], "signal": "kill" })).await;
        bound.end().await;
    }

    async fn what_came_of_a_call_is_kept_before_the_step_is_committed(h: Harness) {
        h.configure(LOCAL);
        h.configure("worker.lease = \"3s\"\nworker.heartbeat_interval = \"300ms\"");
        let mut daemon = h.daemon().await;
        let bound = bound(&h, &daemon, "journal").await;
        let (slow, quick, go) = (h.folder().join("slow"), h.folder().join("quick"), h.folder().join("go"));
        let echo = json!({ "command": format!("echo ran >> {}; echo done", quick.display()), "timeout": "5s" });
        h.model.push([
            Reply::empty()
                .calls("execute", marks_and_stays(&slow, &go))
                .with_id("slow")
                .calls("execute", echo)
                .with_id("quick")
                .calls("read_file", json!({ "path": "/no/such/file" }))
                .with_id("reads"),
            says("I will look."),
        ]);
        bound.api.send(&bound.chat, "Run it.").await;
        eventually("both commands ran", async || (lines(&slow) == 1 && lines(&quick) == 1).then_some(())).await;
        // What came of the quick one is kept while the slow one still runs.
        eventually("the outcome is kept", async || (h.number(&daemon, KEPT).await == 1).then_some(())).await;
        daemon.kill_9().await;
        daemon.restart().await;
        std::fs::write(&go, "").expect("the file");
        let bound = Bound { api: daemon.api(), ..bound };
        let mut stream = bound.api.stream(&bound.chat, None).await;
        let held = stream.until("the end", |held| held.texts("assistant").last().is_some_and(|t| t == "I will look.")).await;
        let parts = held.parts_of("tool-result");
        let ids: Vec<&str> = parts.iter().filter_map(|part| part["tool_call_id"].as_str()).collect();
        assert_eq!(ids, ["slow", "quick", "reads"]);
        assert_eq!((&ok(&parts[0])["output"], &ok(&parts[1])["output"]), (&json!("over\n"), &json!("done\n")));
        assert_eq!((lines(&slow), lines(&quick)), (1, 1));
        assert_eq!(h.number(&daemon, "SELECT count(*) AS n FROM tool_journal").await, 0, "the journal is empty again");
        eventually("nothing is left of the command", async || {
            let found = Command::new("pgrep").arg("-f").arg(go.as_os_str()).status().expect("pgrep");
            (!found.success()).then_some(())
        })
        .await;
        bound.end().await;
    }
}
