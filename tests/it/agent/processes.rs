//! Processes: started once, owned by a chat and by the agent, bounded, reaped.

use super::{Client, Inside};
use crate::support::outside::eventually;
use serde_json::{Value, json};
use std::fs;

async fn start(client: &Client, command: &str) -> String {
    let started = client.post("processes/start", json!({"command": command})).await.ok();
    assert_eq!(started["started"], true);
    started["id"].as_str().unwrap().to_owned()
}

async fn output(client: &Client, id: &str) -> Value {
    client.get(&format!("processes/{id}/output?wait=true")).await.ok()
}

async fn ran(client: &Client, command: &str) -> Value {
    let id = start(client, command).await;
    output(client, &id).await
}

#[tokio::test]
async fn output_exit_code_and_directory() {
    let inside = Inside::with(&[("CHATD_AGENT_TOKEN", "secret"), ("OWN", "kept")]).await;
    let client = &inside.client;
    let mut ended = ran(client, "echo a; echo b >&2; sleep 0.2; exit 3").await;
    let wall = ended.as_object_mut().unwrap().remove("wall_duration_ms").and_then(|ms| ms.as_u64());
    assert!(wall.is_some_and(|ms| ms >= 200), "{wall:?}");
    assert_eq!(ended, json!({"output": "a\nb\n", "running": false, "exit_code": 3}));
    assert_eq!(ran(client, "kill -9 $$").await["exit_code"], 137);
    assert_eq!(
        ran(client, "cat; pwd; echo $OWN $CHATD_CHAT_ID ${CHATD_AGENT_TOKEN-none}").await["output"],
        format!("{}\nkept chat-1 none\n", inside.at("").trim_end_matches('/'))
    );
    let body = json!({"command": "pwd; echo $A$OWN", "workdir": inside.home(""), "env": {"A": "b", "OWN": "set"}, "background": true});
    let id = client.post("processes/start", body).await.ok()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        output(client, &id).await["output"],
        format!("{}\nbset\n", inside.home("").trim_end_matches('/'))
    );
    for (body, said) in [
        (json!({"command": " "}), "command"),
        (json!({"command": "ls", "workdir": inside.at("none")}), "no directory"),
        (json!({"command": "ls", "env": {"A=B": ""}}), "no name of a variable"),
        (json!({"command": 1}), "command"),
    ] {
        let refused = client.post("processes/start", body).await.refused(400);
        assert!(refused.contains(said), "{refused}");
    }
    let long = format!("echo {}", "x".repeat(300_000));
    assert!(
        client
            .post("processes/start", json!({"command": long}))
            .await
            .refused(400)
            .contains("too long. Write it to a file")
    );
    // Without the agent's folder it is home where a command runs, and without both nowhere.
    fs::remove_dir(inside.at("")).unwrap();
    assert_eq!(ran(client, "pwd").await["output"], format!("{}\n", inside.home("").trim_end_matches('/')));
    fs::remove_dir(inside.home("")).unwrap();
    let refused = client.post("processes/start", json!({"command": "pwd"})).await.refused(400);
    assert!(refused.contains("is gone; give another directory"), "{refused}");
}

#[tokio::test]
async fn fifty_megabytes_stay_small() {
    let inside = Inside::new().await;
    let end = ran(&inside.client, "yes 0123456789abcde | head -c 50000000; echo; echo the end").await;
    assert_eq!(end["exit_code"], 0);
    let text = end["output"].as_str().unwrap();
    assert!(text.starts_with("0123456789abcde\n") && text.ends_with("\nthe end\n"));
    assert!(text.len() < 33 * 1024, "{}", text.len());
    assert_eq!(
        end["truncated"],
        json!({"original_bytes": 50_000_009, "retained_bytes": 32_704, "omitted_bytes": 49_967_305, "strategy": "head_tail"})
    );
    assert!(text.contains("49967305 bytes omitted"));
    let lines = ran(&inside.client, "head -c 3000 /dev/zero | tr '\\0' x").await;
    assert_eq!(lines["output"], format!("{}... [line cut, 3000 bytes]", "x".repeat(2048)));
}

#[tokio::test]
async fn a_process_belongs_to_its_chat() {
    let inside = Inside::new().await;
    let (client, other) = (&inside.client, inside.client.chat("chat-2"));
    let id = start(client, "sleep 600").await;
    let done = start(client, "exit 4").await;
    output(client, &done).await;
    let listed = client.get("processes/list").await.ok();
    let listed = listed["processes"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["id"], &listed[0]["running"]), (&json!(id), &json!(true)));
    assert!(
        listed[0].get("exit_code").is_none()
            && listed[0]["started_at_unix"].as_i64().unwrap() > 1_700_000_000
    );
    assert_eq!((&listed[1]["exit_code"], &listed[1]["command"]), (&json!(4), &json!("exit 4")));
    assert!(listed[1]["exited_at_unix"].is_i64());
    assert_eq!(other.get("processes/list").await.ok(), json!({"processes": []}));
    other.get(&format!("processes/{id}/output")).await.refused(404);
    other.post(&format!("processes/{id}/signal"), json!({"signal": "kill"})).await.refused(404);
    let running = client.get(&format!("processes/{id}/output")).await.ok();
    assert_eq!((&running["output"], &running["running"]), (&json!(""), &json!(true)));
    assert!(running.get("exit_code").is_none() && running["wall_duration_ms"].is_u64(), "{running}");
    client.get(&format!("processes/{id}/output?wait=perhaps")).await.refused(400);
    client.post(&format!("processes/{id}/signal"), json!({"signal": "stop"})).await.refused(400);
    client.post(&format!("processes/{id}/signal"), json!({"signal": "terminate"})).await.ok();
    assert_eq!(output(client, &id).await["exit_code"], 143);
    client.post(&format!("processes/{id}/signal"), json!({"signal": "kill"})).await.refused(409);
    client.get("processes/none/output").await.refused(404);
    client.get("processes/none/else").await.refused(404);
}

#[tokio::test]
async fn a_group_ends_together() {
    let inside = Inside::new().await;
    // The shell goes, what it has started stays behind, deaf to SIGTERM.
    let line = "sh -c 'trap \"\" TERM; echo $$ > deaf; while :; do sleep 1; done' & while [ ! -s deaf ]; do :; done; echo gone";
    let end = ran(&inside.client, line).await;
    assert_eq!((&end["output"], &end["exit_code"]), (&json!("gone\n"), &json!(0)));
    assert!(!alive(&inside, "deaf"));
    let id = start(&inside.client, "trap '' TERM; sh -c 'echo $$ > deaf; sleep 600'; sleep 600").await;
    eventually("it runs", async || alive(&inside, "deaf").then_some(())).await;
    inside.client.post(&format!("processes/{id}/signal"), json!({"signal": "kill"})).await.ok();
    assert_eq!(output(&inside.client, &id).await["exit_code"], 137);
    assert!(!alive(&inside, "deaf"));
}

/// Whether the process runs whose id the file holds.
fn alive(inside: &Inside, file: &str) -> bool {
    let id = fs::read_to_string(inside.at(file)).unwrap_or_default();
    let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", id.trim())) else { return false };
    !stat.rsplit(')').next().unwrap().trim_start().starts_with(['Z', 'X'])
}

#[tokio::test]
async fn a_process_is_started_once() {
    let inside = Inside::new().await;
    let body = json!({"command": "echo run >> log; sleep 600", "background": true});
    let first = inside.client.tool_call("c1").post("processes/start", body.clone()).await.ok();
    let second = inside.again().await;
    assert_eq!(second.tool_call("c1").post("processes/start", body.clone()).await.ok(), first);
    let id = first["id"].as_str().unwrap();
    eventually("it runs", async || fs::read_to_string(inside.at("log")).ok().filter(|log| !log.is_empty()))
        .await;
    // The first link is gone; the process is not.
    assert_eq!(second.get(&format!("processes/{id}/output")).await.ok()["running"], true);
    assert_ne!(second.tool_call("c2").post("processes/start", body.clone()).await.ok()["id"], id);
    assert_ne!(second.post("processes/start", body).await.ok()["id"], id);
    inside.agent.stop().await;
    assert_eq!(second.get(&format!("processes/{id}/output")).await.ok()["running"], false);
    assert!(
        second.post("processes/start", json!({"command": "true"})).await.refused(503).contains("stopping")
    );
}

#[tokio::test]
async fn there_is_an_end_to_processes_at_once() {
    let inside = Inside::new().await;
    let body = json!({"command": "exec sleep 600"});
    for _ in 0..500 {
        inside.client.post("processes/start", body.clone()).await.ok();
    }
    assert!(inside.client.post("processes/start", body).await.refused(429).contains("end some"));
    inside.agent.stop().await;
}
