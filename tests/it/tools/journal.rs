//! A call whose second run would do harm runs once, whatever becomes of the daemon meanwhile.

use crate::support::{
    both,
    fake_model::{Reply, says},
    outside::eventually,
    turns::id,
};
use serde_json::{Value, json};
use std::{path::Path, process::Command};

/// Outcomes that the journal holds.
const KEPT: &str = "SELECT count(*) AS n FROM tool_journal WHERE outcome IS NOT NULL";

/// Lines of a file in the chat's folder, which the command makes.
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

fn results(parts: &[Value]) -> Vec<&Value> {
    parts.iter().map(|part| &part["result"]).collect()
}

both! {
    async fn a_command_that_was_cut_off_is_not_started_again(h: Harness) {
        h.configure("worker.lease = \"3s\"\nworker.heartbeat_interval = \"300ms\"");
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
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Run it.").await);
        eventually("both commands ran", async || (lines(&slow) == 1 && lines(&quick) == 1).then_some(())).await;
        // What came of the quick one is kept while the slow one still runs.
        eventually("the outcome is kept", async || (h.number(&daemon, KEPT).await == 1).then_some(())).await;
        daemon.kill_9().await;
        daemon.restart().await;
        let mut stream = api.stream(&chat, None).await;
        let held = stream.answered(2).await;
        let parts = held.parts_of("tool-result");
        let ids: Vec<&str> = parts.iter().filter_map(|part| part["tool_call_id"].as_str()).collect();
        assert_eq!(ids, ["slow", "quick", "reads"]);
        let results = results(&parts);
        assert_eq!(parts[0]["is_error"], json!(true));
        let said = results[0]["error"].as_str().expect("a text");
        assert!(said.contains("nobody knows how far it came"), "{said}");
        assert_eq!((&results[1]["exit_code"], &results[1]["output"]), (&json!(0), &json!("done\n")));
        assert_eq!((lines(&slow), lines(&quick)), (1, 1));
        assert_eq!(daemon.metric("chatd_tool_calls_unknown_total").await, Some(1.0));
        assert_eq!(h.number(&daemon, "SELECT count(*) AS n FROM tool_journal").await, 0, "the journal is empty again");
        std::fs::write(&go, "").expect("the file");
        eventually("nothing is left of the command", async || {
            let found = Command::new("pgrep").arg("-f").arg(go.as_os_str()).status().expect("pgrep");
            (!found.success()).then_some(())
        })
        .await;
    }
}
