use super::{Bound, LOCAL, error, ok};
use crate::support::{both, fake_model::says, outside::eventually};
use serde_json::json;
use std::time::Instant;

both! {
    async fn commands_run_in_the_foreground_and_in_the_background(h: Harness) {
        h.configure(LOCAL);
        h.model.push([says("Hi.")]);
        let daemon = h.daemon().await;
        let bound = Bound::make(&daemon, "processes").await;
        let ran = bound.call(&h, "execute", json!({ "command": "pwd; echo $CHATD_CHAT_AGENT; exit 3" })).await;
        let ran = ok(&ran);
        assert_eq!((&ran["success"], &ran["exit_code"]), (&json!(false), &json!(3)), "{ran}");
        assert_eq!(ran["output"], json!(format!("{}\ntrue\n", bound.folder)));
        assert!(ran["error"].is_string() && ran["wall_duration_ms"].is_u64(), "{ran}");
        let flood = bound.call(&h, "execute", json!({ "command": "yes | head -c 1000000", "timeout": "60s" })).await;
        assert!(ok(&flood)["output"].as_str().is_some_and(|text| text.len() <= 32 * 1024 && text.contains("967296 bytes omitted")));
        assert_eq!(ok(&flood)["truncated"], json!({
            "original_bytes": 1_000_000, "retained_bytes": 32_704, "omitted_bytes": 967_296, "strategy": "head_tail",
        }));

        let waits = "echo begun; while ! test -e go; do sleep 0.05; done; echo done";
        let started = bound.call(&h, "execute", json!({ "command": format!("{waits} &") })).await;
        let started = ok(&started);
        assert_eq!(started["success"], json!(true), "{started}");
        let process = started["background_process_id"].as_str().expect("an id");
        let seen = bound.call(&h, "process_output", json!({ "process_id": process, "wait_timeout": "0s" })).await;
        let seen = ok(&seen);
        assert!(seen.get("exit_code").is_none() && seen["success"] == json!(true) && seen["note"].is_string(), "{seen}");
        let list = bound.call(&h, "process_list", json!({})).await;
        let first = ok(&list)["processes"][0].clone();
        assert_eq!((&first["id"], &first["running"], &first["background"]), (&json!(process), &json!(true), &json!(true)));
        std::fs::write(format!("{}/go", bound.folder), "").unwrap();
        let ended = bound.call(&h, "process_output", json!({ "process_id": process, "wait_timeout": "30s" })).await;
        let ended = ok(&ended);
        assert_eq!((&ended["exit_code"], &ended["output"]), (&json!(0), &json!("begun\ndone\n")), "{ended}");

        // What is too slow goes on, until it is told to end.
        let slow = bound.call(&h, "execute", json!({ "command": "echo slow; sleep 600", "timeout": "300ms" })).await;
        let slow = ok(&slow);
        assert_eq!((&slow["success"], &slow["exit_code"], &slow["output"]), (&json!(false), &json!(-1), &json!("slow\n")));
        assert!(slow["error"].as_str().unwrap().contains("timed out after 300ms"), "{slow}");
        let process = slow["background_process_id"].as_str().expect("an id");
        let signalled = bound.call(&h, "process_signal", json!({ "process_id": process, "signal": "kill" })).await;
        assert_eq!(ok(&signalled)["success"], json!(true));
        let killed = bound.call(&h, "process_output", json!({ "process_id": process, "wait_timeout": "30s" })).await;
        assert_eq!((&ok(&killed)["exit_code"], &ok(&killed)["success"]), (&json!(137), &json!(false)));

        let refused = vec![
            ("process_signal", json!({ "process_id": process, "signal": "kill" }), "has ended"),
            ("process_signal", json!({ "process_id": process, "signal": "stop" }), "terminate or kill"),
            ("process_signal", json!({ "process_id": "none", "signal": "kill" }), "no process"),
            ("process_output", json!({ "process_id": "../../x" }), "no process"),
            ("process_output", json!({ "process_id": " " }), "process_id must not be blank"),
            ("process_output", json!({ "process_id": process, "wait_timeout": "soon" }), "not a duration"),
            ("execute", json!({ "command": "true", "timeout": "5h" }), "at most 4h"),
            ("execute", json!({ "command": " " }), "command must not be blank"),
            ("execute", json!({ "command": "true", "workdir": "/no/such" }), "/no/such"),
        ];
        let results = bound.calls(&h, refused.iter().map(|(name, args, _)| (*name, args.clone())).collect()).await;
        for ((name, args, said), result) in refused.iter().zip(&results) {
            assert!(error(result).contains(said), "{name} {args}: {result}");
        }
        // Another chat of the same workspace does not see them.
        let other = json!({ "workspace_id": bound.workspace, "content": [{ "type": "text", "text": "Hello" }] });
        h.model.push([says("Hi.")]);
        let other = bound.api.create_chat_with(other).await;
        let other = Bound { chat: crate::support::turns::id(&other), ..bound };
        assert!(error(&other.call(&h, "process_output", json!({ "process_id": process })).await).contains("no process"));
        assert_eq!(ok(&other.call(&h, "process_list", json!({})).await)["processes"], json!([]));
        other.end().await;
    }

    async fn a_command_starts_once_although_the_daemon_is_killed(h: Harness) {
        h.configure(LOCAL);
        h.model.push([says("Hi.")]);
        let mut daemon = h.daemon().await;
        let bound = Bound::make(&daemon, "once").await;
        let command = "echo started >>marks; while ! test -e go; do sleep 0.05; done; echo ended";
        let mut stream = bound.api.stream(&bound.chat, None).await;
        let settled = stream.settled().await;
        assert!(settled.is("waiting"));
        h.model.push([
            crate::support::fake_model::calls("execute", json!({ "command": command, "timeout": "60s" })),
            says("Done."),
        ]);
        bound.api.post(&format!("/chats/{}/messages", bound.chat), crate::support::turns::text("Go.")).await.json(200);
        let marks = format!("{}/marks", bound.folder);
        eventually("the command has begun", async || std::fs::exists(&marks).unwrap().then_some(())).await;
        let begun = Instant::now();
        daemon.kill_9().await;
        daemon.restart().await;
        let ran = begun.elapsed();
        std::fs::write(format!("{}/go", bound.folder), "").unwrap();
        let bound = Bound { api: daemon.api(), ..bound };
        let mut stream = bound.api.stream(&bound.chat, None).await;
        let held = stream.until("the end", |held| held.texts("assistant").last().is_some_and(|t| t == "Done.")).await;
        let results = held.parts_of("tool-result");
        assert_eq!((&ok(&results[0])["exit_code"], &ok(&results[0])["output"]), (&json!(0), &json!("ended\n")), "{results:?}");
        assert_eq!(std::fs::read_to_string(&marks).unwrap(), "started\n");
        let wall = ok(&results[0])["wall_duration_ms"].as_u64().expect("a number");
        assert!(u128::from(wall) >= ran.as_millis(), "{wall} ms, and it ran for {ran:?} before the daemon was back");
        bound.end().await;
    }
}
