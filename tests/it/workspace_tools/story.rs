//! A whole piece of work: a chat asks for a workspace, mends a small project in it, has its tests run in the background, reads
//! what they print and attaches the report. And edits that a kill of the daemon cuts off.

use super::{Bound, LOCAL, ok};
use crate::support::{
    both,
    fake_model::{RecordedRequest, Reply, calls, says},
    outside::{eventually, freeze, thaw},
    turns::{id, working_directory},
};
use nix::unistd::Pid;
use serde_json::{Value, json};

const PROGRAM: &str = "#!/bin/sh\n# Adds two numbers.\necho $(( $1 - $2 ))\n";
const TESTS: &str = "#!/bin/sh\nfor pair in '1 2 3' '20 22 42'; do\n  set -- $pair\n  sum=$(sh ./add.sh $1 $2)\n  \
    [ \"$sum\" = \"$3\" ] || { echo \"$1 + $2 is $3, and not $sum\"; exit 1; }\n  echo \"ok $1 + $2\"\ndone\necho all passed\n";

/// The last result as JSON.
fn last(request: &RecordedRequest) -> Value {
    let results = request.tool_results();
    serde_json::from_str(results.last().expect("a result")).expect("JSON")
}

/// What the model does after so many results.
fn next(request: &RecordedRequest) -> Reply {
    let place = || working_directory(request);
    let file = |name: &str| format!("{}/{name}", place());
    match request.tool_results().len() {
        0 => says("Let me see.").calls("list_templates", json!({})),
        1 => {
            let all = last(request);
            let template = all["templates"]
                .as_array()
                .expect("templates")
                .iter()
                .find(|t| t["name"] == "box")
                .expect("a box");
            calls("create_workspace", json!({ "template_id": template["id"], "name": "adder" }))
        }
        2 => Reply::empty()
            .calls("write_file", json!({ "path": file("add.sh"), "content": PROGRAM }))
            .calls("write_file", json!({ "path": file("test.sh"), "content": TESTS })),
        4 => calls("execute", json!({ "command": "sh ./test.sh", "model_intent": "Run the tests" })),
        5 => {
            let edits = json!([{ "search": "echo $(( $1 - $2 ))", "replace": "echo $(( $1 + $2 ))" }]);
            calls("edit_files", json!({ "files": [{ "path": file("add.sh"), "edits": edits }] }))
        }
        6 => {
            calls("execute", json!({ "command": "sh ./test.sh | tee report.md", "run_in_background": true }))
        }
        7 => calls(
            "process_output",
            json!({ "process_id": last(request)["background_process_id"], "wait_timeout": "30s" }),
        ),
        8 => calls("attach_file", json!({ "path": file("report.md") })),
        _ => says("It adds now."),
    }
}

both! {
    async fn a_chat_mends_a_project_in_a_workspace_of_its_own(h: Harness) {
        h.configure(LOCAL);
        h.model.otherwise(next);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("The sums are wrong. Mend them and show me the test report.").await);
        let mut stream = api.stream(&chat, None).await;
        let held = stream.until("the end", |held| held.is("waiting") && held.texts("assistant").last().is_some_and(|t| t == "It adds now.")).await;
        let results = held.parts_of("tool-result");
        assert_eq!(results.len(), 9, "{results:#?}");
        let failed = ok(&results[4]);
        assert_eq!((&failed["success"], &failed["exit_code"], &failed["output"]),
            (&json!(false), &json!(1), &json!("1 + 2 is 3, and not -1\n")), "{failed}");
        let passed = ok(&results[7]);
        assert_eq!((&passed["success"], &passed["exit_code"], &passed["output"]),
            (&json!(true), &json!(0), &json!("ok 1 + 2\nok 20 + 22\nall passed\n")), "{passed}");
        let now = api.chat(&chat).await;
        assert_eq!((&now["files"][0]["name"], &now["files"][0]["mime_type"]), (&json!("report.md"), &json!("text/markdown")), "{now}");
        let file = now["files"][0]["id"].as_str().expect("an id");
        let report = api.get(&format!("/chats/files/{file}")).await;
        assert_eq!((report.status, report.body.as_slice()), (200, "ok 1 + 2\nok 20 + 22\nall passed\n".as_bytes()));
        let workspace = now["workspace_id"].as_str().expect("a workspace").to_owned();
        let folder = working_directory(&h.turn(h.turns() - 1).await);
        Bound { api, chat, workspace, folder }.end().await;
    }

    async fn an_edit_is_made_once_although_the_daemon_is_killed(h: Harness) {
        h.configure(LOCAL);
        h.model.push([says("Hi.")]);
        let mut daemon = h.daemon().await;
        let bound = Bound::make(&daemon, "edits").await;
        bound.api.stream(&bound.chat, None).await.settled().await;
        let (edited, written) = (format!("{}/edited", bound.folder), format!("{}/written", bound.folder));
        std::fs::write(&edited, "x\n").unwrap();
        ok(&bound.call(&h, "execute", json!({ "command": "true" })).await);
        // The agent stands still, so the calls are under way when the daemon is killed.
        let process = std::fs::read_to_string(daemon.data_dir().join("agents").join(&bound.workspace)).expect("the agent's process");
        let supervisor: i32 = process.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process id");
        let below = std::process::Command::new("pgrep").arg("-P").arg(supervisor.to_string()).output().expect("pgrep");
        let agent = Pid::from_raw(String::from_utf8_lossy(&below.stdout).trim().parse().expect("one process below it"));
        freeze(agent).await;
        let edits = json!([{ "search": "x", "replace": "xx", "replace_all": true }]);
        h.model.push([
            Reply::empty()
                .calls("edit_files", json!({ "files": [{ "path": edited, "edits": edits }] }))
                .calls("write_file", json!({ "path": written, "content": "whole\n" })),
            says("Done."),
        ]);
        bound.api.send(&bound.chat, "Edit.").await;
        eventually("the calls are entered", async || {
            (h.number(&daemon, "SELECT count(*) AS n FROM tool_journal").await == 1).then_some(())
        })
        .await;
        daemon.kill_9().await;
        thaw(agent);
        daemon.restart().await;
        let bound = Bound { api: daemon.api(), ..bound };
        let mut stream = bound.api.stream(&bound.chat, None).await;
        let held = stream.until("the end", |held| held.is("waiting") && held.texts("assistant").last().is_some_and(|t| t == "Done.")).await;
        let results = held.parts_of("tool-result");
        assert_eq!(ok(&results[2]), &json!({ "ok": true }));
        assert_eq!(std::fs::read_to_string(&written).unwrap(), "whole\n");
        // Made once, or not begun and said to be unknown; never twice.
        let text = std::fs::read_to_string(&edited).unwrap();
        match results[1]["is_error"] == json!(true) {
            false => assert_eq!(text, "xx\n"),
            true => {
                assert!(crate::workspace_tools::error(&results[1]).contains("nobody knows how far it came"), "{}", results[1]);
                assert!(text == "x\n" || text == "xx\n", "{text:?}");
            }
        }
        bound.end().await;
    }
}
