//! Builds with commands of the operator: run, printed, failed, broken off, at the end of their time.

use super::{allow_builds, build, create, has_status, path, printed, refuse_builds};
use crate::support::{
    Engine, both,
    outside::{eventually, within},
    run_within,
};
use futures_util::StreamExt as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

fn command(start: &str, stop: &str, more: &str) -> String {
    format!("[[templates]]\nname = \"host\"\nkind = \"command\"\nstart = '{start}'\nstop = '{stop}'\n{more}")
}

/// Follows a log to its end: the lines, and the code it was closed with.
async fn followed(url: &str, token: &str, build: &Value) -> (Vec<String>, u16) {
    let id = build["id"].as_str().expect("an id");
    let url = format!("{}/api/v2/workspacebuilds/{id}/logs/follow", url.replacen("http", "ws", 1));
    let mut request = url.into_client_request().expect("a URL");
    request.headers_mut().insert("Coder-Session-Token", token.parse().expect("plain text"));
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("a handshake");
    let mut lines = Vec::new();
    loop {
        match socket.next().await.expect("a close frame").expect("a message") {
            Message::Text(text) => {
                let line: Value = serde_json::from_str(&text).expect("JSON");
                lines.push(line["output"].as_str().expect("a text").to_owned());
            }
            Message::Close(frame) => return (lines, frame.expect("a reason").code.into()),
            _ => {}
        }
    }
}

#[test]
fn a_workspace_that_has_died_is_found_stopped() {
    run_within(Duration::from_secs(150), Engine::Sqlite, "died", |h| async move {
        // Its agent is a process of this host; its status command knows whether it should run.
        let program = env!("CARGO_BIN_EXE_chatd");
        let start = format!(
            "touch up-$CHATD_WORKSPACE_NAME; mkdir -p w; \
             CHATD_AGENT_TOKEN=$CHATD_AGENT_TOKEN setsid {program} agent --dir w >/dev/null 2>&1 & echo $! >pid-$CHATD_WORKSPACE_NAME"
        );
        let stop = "kill $(cat pid-$CHATD_WORKSPACE_NAME) 2>/dev/null; rm -f up-$CHATD_WORKSPACE_NAME";
        let status = "echo \"$CHATD_TRANSITION [$CHATD_AGENT_TOKEN]\" >>asked-$CHATD_WORKSPACE_NAME; test -e up-$CHATD_WORKSPACE_NAME";
        h.configure(&command(&start, stop, &format!("status = '{status}'")));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let data = daemon.data_dir();
        let (alive, dead) = (create(&api, "alive", "host").await, create(&api, "dead", "host").await);
        for workspace in [&alive, &dead] {
            has_status(&api, workspace, "running").await;
            eventually("its agent", async || {
                let now = api.get(&path(workspace)).await.json(200);
                (now["agents"][0]["status"] == "connected").then_some(())
            })
            .await;
        }
        std::fs::remove_file(data.join("up-dead")).expect("it was up");
        for name in ["alive", "dead"] {
            let pid = std::fs::read_to_string(data.join(format!("pid-{name}"))).expect("a process id");
            kill(Pid::from_raw(pid.trim().parse().expect("a number")), Signal::SIGTERM)
                .expect("end the agent");
        }
        within(Duration::from_secs(90), "it is found", async || {
            (api.get(&path(&dead)).await.json(200)["status"] == "stopped").then_some(())
        })
        .await;
        within(Duration::from_secs(30), "the other one is asked for", async || {
            std::fs::exists(data.join("asked-alive")).expect("look").then_some(())
        })
        .await;
        let asked = std::fs::read_to_string(data.join("asked-dead")).expect("it was asked");
        assert!(asked.starts_with("status []\n"), "{asked}");
        let now = api.get(&path(&alive)).await.json(200);
        assert_eq!(
            (&now["status"], &now["latest_build"]["transition"]),
            (&json!("running"), &json!("start"))
        );
        let ended = api.get(&path(&dead)).await.json(200)["latest_build"].clone();
        assert_eq!((&ended["transition"], &ended["reason"]), (&json!("stop"), &json!("autostop")));
        // It can be started again.
        build(&api, &dead, "start").await;
        has_status(&api, &dead, "running").await;
        for workspace in [&alive, &dead] {
            build(&api, workspace, "delete").await;
            eventually("it is gone", async || (api.get(&path(workspace)).await.status == 404).then_some(()))
                .await;
        }
    });
}

both! {
    async fn an_error_of_the_store_does_not_end_a_round_of_status_commands(h: Harness) {
        // The first one fails before the others have answered.
        let status = "[ $CHATD_WORKSPACE_NAME = first ] || sleep 1; echo x >>asked-$CHATD_WORKSPACE_NAME; exit 1";
        h.configure(&command("true", "true", &format!("status = '{status}'")));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut made = Vec::new();
        for name in ["first", "second", "third"] {
            let workspace = create(&api, name, "host").await;
            has_status(&api, &workspace, "running").await;
            made.push(workspace);
        }
        refuse_builds(&h, &daemon, &made[0]).await;
        // No agent has ever come, and none is waited for any more.
        h.execute(&daemon, &format!("UPDATE workspace_agents SET created_at = {}", h.moment(1))).await;
        for workspace in &made[1..] {
            within(Duration::from_secs(40), "its end", async || {
                (api.get(&path(workspace)).await.json(200)["status"] == "stopped").then_some(())
            })
            .await;
        }
        assert!(daemon.data_dir().join("asked-first").exists());
        assert_eq!(api.get(&path(&made[0])).await.json(200)["status"], "running");
        // The next round tries again.
        allow_builds(&h, &daemon).await;
        within(Duration::from_secs(40), "the end of the first", async || {
            (api.get(&path(&made[0])).await.json(200)["status"] == "stopped").then_some(())
        })
        .await;
    }

    async fn commands_start_and_stop_a_workspace(h: Harness) {
        let start = "echo \"$CHATD_TRANSITION $CHATD_WORKSPACE_OWNER/$CHATD_WORKSPACE_NAME at $CHATD_URL\"; \
                     echo \"token $CHATD_AGENT_TOKEN\" >&2; pwd; sleep 300 & until [ -e go ]; do sleep 0.05; done";
        let stop = "echo \"$CHATD_TRANSITION [$CHATD_AGENT_TOKEN]\"";
        h.configure(&command(start, stop, ""));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let made = create(&api, "dev", "host").await;
        let starting = has_status(&api, &made, "starting").await;
        let conflict = api.post(&format!("{}/builds", path(&made)), json!({ "transition": "stop" })).await;
        assert!(conflict.problem(409)["message"].as_str().is_some_and(|m| m.contains("under way")));
        let token = daemon.token();
        let following = followed(daemon.url(), &token, &starting["latest_build"]);
        let go = async {
            eventually("a line", async || {
                (printed(&api, &made["latest_build"]).await.len() == 4).then_some(())
            })
            .await;
            std::fs::write(daemon.data_dir().join("go"), "").expect("write a file");
        };
        let ((lines, code), ()) = tokio::join!(following, go);
        assert_eq!((lines.len(), code), (4, 1000), "{lines:?}");
        let running = has_status(&api, &made, "running").await;
        assert_eq!(running["agents"][0]["status"], "connecting");
        let mut logs = printed(&api, &made["latest_build"]).await;
        let own = logs.remove(0);
        assert_eq!(own.0, "chatd");
        // The two streams have no order between them.
        logs.sort();
        let line = |source: &str, text: String| (source.to_owned(), text);
        let folder = daemon.data_dir().canonicalize().expect("a folder").display().to_string();
        let mut wanted = vec![
            line("stdout", format!("start admin/dev at {}", daemon.url())),
            line("stdout", folder),
            line("stderr", "token [agent token]".into()),
        ];
        wanted.sort();
        assert_eq!(logs, wanted);
        let stop = build(&api, &made, "stop").await;
        assert_eq!(stop["build_number"], 2);
        let stopped = has_status(&api, &made, "stopped").await;
        assert_eq!(stopped["agents"], json!([]), "the agents are those of the newest build");
        assert!(printed(&api, &stop).await.contains(&line("stdout", "stop []".into())));
        assert!(api.get(&format!("{}/builds", path(&made))).await.json(200)[1]["finished_at"].is_string());
        build(&api, &made, "delete").await;
        let path = path(&made);
        eventually("the end", async || (api.get(&path).await.status == 404).then_some(())).await;
        assert_eq!(create(&api, "dev", "host").await["latest_build"]["build_number"], 1);
    }

    async fn the_log_of_a_deletion_is_followed_to_its_end(h: Harness) {
        let stop = "echo begins; until [ -e go ]; do sleep 0.05; done; echo ends";
        h.configure(&command("true", stop, ""));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let made = create(&api, "dev", "host").await;
        has_status(&api, &made, "running").await;
        build(&api, &made, "delete").await;
        let mut follower = Command::new(env!("CARGO_BIN_EXE_chatd"))
            .args(["workspace", "logs", "admin/dev", "--follow", "--config"])
            .arg(daemon.config_file())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("start chatd");
        let mut lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
        loop {
            let line = lines.next_line().await.expect("a pipe").expect("a line");
            if line == "begins" {
                break;
            }
        }
        std::fs::write(daemon.data_dir().join("go"), "").expect("write a file");
        let ended = follower.wait_with_output().await.expect("wait for it");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && said.contains("is deleted"), "{ended:?}");
    }

    async fn commands_get_no_secret_of_the_daemon(h: Harness) {
        h.configure(&command("env", "true", ""));
        h.configure(
            "[[mcp_servers]]\nname = \"m\"\nurl = \"http://127.0.0.1:1/\"\nauth = \"headers\"\nheaders_env = { X-T = \"HEADER_KEY\" }\n",
        );
        let mut daemon = h.daemon().await;
        daemon.stop().await;
        let mut config = h.config();
        config["providers"][0].as_table_mut().expect("a provider").remove("api_key");
        config["providers"][0].as_table_mut().expect("a provider").insert("api_key_env".into(), "MODEL_KEY".into());
        daemon.configure(&toml::Table::from_iter([("providers".to_owned(), config["providers"].clone())]).to_string());
        for (name, value) in [
            ("MODEL_KEY", "secret-model"),
            // Of a provider that is declared nowhere.
            ("GEMINI_API_KEY", "secret-usual"),
            ("HEADER_KEY", "secret-header"),
            ("CHATD__LOG__FILTER", "secret_target=off,info"),
            ("DOCKER_HOST", "the-operators-own"),
        ] {
            daemon.set_variable(name, value);
        }
        daemon.restart().await;
        let api = daemon.api();
        let made = create(&api, "dev", "host").await;
        has_status(&api, &made, "running").await;
        let seen: Vec<String> = printed(&api, &made["latest_build"]).await.into_iter().map(|(_, line)| line).collect();
        assert!(seen.iter().any(|line| line == "DOCKER_HOST=the-operators-own"), "{seen:?}");
        assert!(seen.iter().any(|line| line.starts_with("CHATD_AGENT_ID=")), "{seen:?}");
        assert!(!seen.iter().any(|line| line.contains("secret")), "{seen:?}");
    }

    async fn a_command_that_fails_says_why(h: Harness) {
        h.configure(&command("echo oops >&2; exit 3", "true", ""));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let made = create(&api, "dev", "host").await;
        let failed = has_status(&api, &made, "failed").await;
        let error = failed["latest_build"]["error"].as_str().unwrap_or_default();
        assert!(error.contains("start command") && error.contains('3'), "{failed}");
        assert!(printed(&api, &made["latest_build"]).await.contains(&("stderr".into(), "oops".into())));
        build(&api, &made, "stop").await;
        has_status(&api, &made, "stopped").await;
        let cli = daemon.command(&["workspace", "start", "admin/dev"]).await;
        assert_eq!(cli.status, 1, "{cli:?}");
        assert!(cli.err.contains("oops") && cli.err.contains("start command"), "{cli:?}");
    }

    async fn a_build_whose_daemon_died_is_ended(h: Harness) {
        h.configure(&command("touch begun; sleep 300", "true", "[worker]\nheartbeat_interval = \"200ms\"\nlease = \"1s\"\n"));
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let made = create(&api, "dev", "host").await;
        let begun = daemon.data_dir().join("begun");
        eventually("the command", async || begun.exists().then_some(())).await;
        daemon.kill_9().await;
        daemon.restart().await;
        let failed = has_status(&api, &made, "failed").await;
        let error = failed["latest_build"]["error"].as_str().unwrap_or_default();
        assert!(error.contains("Build again"), "{failed}");
        build(&api, &made, "stop").await;
        has_status(&api, &made, "stopped").await;
        // A stop in order breaks builds off and says so at once.
        build(&api, &made, "start").await;
        has_status(&api, &made, "starting").await;
        daemon.stop().await;
        daemon.restart().await;
        let failed = api.get(&path(&made)).await.json(200);
        let error = failed["latest_build"]["error"].as_str().unwrap_or_default();
        assert!(failed["status"] == "failed" && error.contains("the daemon was stopped"), "{failed}");
    }

    async fn a_stop_in_order_lets_a_build_end_and_the_next_start_knows_what_is_asked_since(h: Harness) {
        let start = "echo \"new [$CHATD_PARAMETER_NEW]\"; touch begun; until [ -e go ]; do sleep 0.05; done; echo end";
        h.configure(&command(start, "true", ""));
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let made = create(&api, "dev", "host").await;
        let (begun, go) = (daemon.data_dir().join("begun"), daemon.data_dir().join("go"));
        eventually("the command", async || begun.exists().then_some(())).await;
        let stopping = async {
            eventually("the daemon stops", async || (api.get("//readyz").await.status == 503).then_some(())).await;
            std::fs::write(&go, "").expect("write a file");
        };
        tokio::join!(daemon.stop(), stopping);
        daemon.configure(&command(start, "true", "parameters = [{ name = \"new\", default = \"x\" }]\n"));
        daemon.restart().await;
        let api = daemon.api();
        let running = api.get(&path(&made)).await.json(200);
        assert_eq!(running["status"], "running", "{running}");
        assert!(printed(&api, &made["latest_build"]).await.contains(&("stdout".into(), "end".into())));
        let again = build(&api, &made, "start").await;
        has_status(&api, &made, "running").await;
        assert!(printed(&api, &again).await.contains(&("stdout".into(), "new [x]".into())));
        daemon.stop().await;
        daemon.configure(&command(start, "true", "parameters = [{ name = \"must\" }]\n"));
        daemon.restart().await;
        let api = daemon.api();
        build(&api, &made, "start").await;
        let failed = has_status(&api, &made, "failed").await;
        assert!(failed["latest_build"]["error"].as_str().is_some_and(|e| e.contains("\"must\"")), "{failed}");
        build(&api, &made, "stop").await;
        has_status(&api, &made, "stopped").await;
    }

    async fn a_workspace_ends_with_its_time(h: Harness) {
        h.configure(&command("true", "true", "ttl = \"1s\"\n"));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let made = create(&api, "dev", "host").await;
        let stopped = has_status(&api, &made, "stopped").await;
        let latest = &stopped["latest_build"];
        assert_eq!((&latest["reason"], &latest["build_number"]), (&json!("autostop"), &json!(2)));
        assert!(stopped.get("deadline").is_none(), "{stopped}");
        // The workspace's own time comes before the template's.
        api.patch(&path(&made), json!({ "ttl_ms": 3_600_000 })).await.json(200);
        build(&api, &made, "start").await;
        assert!(has_status(&api, &made, "running").await["deadline"].is_string());
    }

    async fn a_template_asks_and_its_commands_know_the_answers(h: Harness) {
        let asks = "parameters = [{ name = \"branch\" }, { name = \"cpu-count\", type = \"number\", default = \"2\", validation_max = 8 }]\n\
                    presets = [{ name = \"big\", parameters = { cpu-count = \"8\", branch = \"dev\" } }]\n";
        h.configure(&command("echo \"$CHATD_PARAMETER_BRANCH $CHATD_PARAMETER_CPU_COUNT\"", "echo \"$CHATD_PARAMETER_BRANCH\"", asks));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let all = api.get("/api/v2/templates").await.json(200);
        assert_eq!(all[0]["parameters"][1]["validation_max"], json!(8), "{all}");
        let preset = &all[0]["presets"][0];
        assert_eq!(preset["parameters"], json!({ "branch": "dev", "cpu-count": "8" }), "{all}");
        let post = async |name: &str, more: Value| {
            let mut body = json!({ "name": name, "template_id": all[0]["id"] });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            api.post("/api/v2/workspaces", body).await
        };
        for (more, said) in [
            (json!({}), "requires the parameter \"branch\""),
            (json!({ "parameters": { "branch": "a", "none": "b" } }), "no parameter \"none\""),
            (json!({ "parameters": { "branch": "a", "cpu-count": "9" } }), "out of the range"),
            (json!({ "preset_id": all[0]["id"] }), "no preset"),
        ] {
            let problem = post("bad", more).await.problem(400);
            assert!(problem.to_string().contains(&said.replace('"', "\\\"")), "{problem}");
        }
        let own = post("own", json!({ "preset_id": preset["id"], "parameters": { "branch": "main" } })).await.json(201);
        assert_eq!(own["parameters"], json!({ "branch": "main", "cpu-count": "8" }));
        has_status(&api, &own, "running").await;
        assert_eq!(printed(&api, &own["latest_build"]).await[1], ("stdout".to_owned(), "main 8".to_owned()));
        let stop = build(&api, &own, "stop").await;
        has_status(&api, &own, "stopped").await;
        assert_eq!(printed(&api, &stop).await[1], ("stdout".to_owned(), "main".to_owned()));
    }

    async fn workspaces_are_administered_on_the_machine(h: Harness) {
        h.configure(&command("echo up", "echo down", ""));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let made = create(&api, "dev", "host").await;
        has_status(&api, &made, "running").await;
        let run = async |args: &[&str]| daemon.command(&[&["workspace"], args].concat()).await;
        let list = run(&["list", "--json"]).await;
        let rows: Value = serde_json::from_str(&list.out).unwrap_or_else(|e| panic!("{e}: {list:?}"));
        assert_eq!((&rows[0]["owner"], &rows[0]["name"], &rows[0]["status"]), (&json!("admin"), &json!("dev"), &json!("succeeded")));
        assert!(run(&["list", "--user", "admin"]).await.out.contains("admin/dev"));
        let logs = run(&["logs", "dev"]).await;
        assert_eq!((logs.status, logs.out.lines().last()), (0, Some("up")), "{logs:?}");
        let stop = run(&["stop", "admin/dev"]).await;
        assert_eq!((stop.status, stop.out.as_str()), (0, ""), "{stop:?}");
        assert!(stop.err.contains("down"), "{stop:?}");
        assert_eq!(api.get(&path(&made)).await.json(200)["status"], "stopped");
        let start = run(&["start", made["id"].as_str().expect("an id")]).await;
        assert_eq!(start.status, 0, "{start:?}");
        let missing = run(&["stop", "nothing"]).await;
        assert_eq!(missing.status, 1, "{missing:?}");
        assert!(missing.err.contains("workspace list"), "{missing:?}");
        let body = json!({ "name": "gone", "kind": "external" });
        let template = api.post("/api/v2/templates", body).await.json(201);
        let made = create(&api, "left", "gone").await;
        has_status(&api, &made, "running").await;
        let template = format!("/api/v2/templates/{}", template["id"].as_str().expect("an id"));
        assert_eq!(api.delete(&template).await.status, 204);
        let start = run(&["start", "left"]).await;
        assert_eq!(start.status, 1, "{start:?}");
        assert!(start.err.contains("template of this workspace was deleted"), "{start:?}");
        assert_eq!(run(&["stop", "left"]).await.status, 0, "what is left can be stopped");
    }
}
