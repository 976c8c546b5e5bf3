//! What is recorded of model calls (api.md §2.15, agent-loop.md §21).

use crate::support::{
    both,
    client::Api,
    fake_model::{Gate, fails, says},
    turns::{id, text},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The turns that were recorded. The recorder tells nobody when it has written: ask until the newest run
/// has ended.
async fn ended(api: &Api, chat: &str, count: usize) -> Vec<Value> {
    ended_of(api, chat, "chat_turn", count).await
}

/// The same of another kind.
async fn ended_of(api: &Api, chat: &str, kind: &str, count: usize) -> Vec<Value> {
    let since = Instant::now();
    loop {
        let runs = api.get(&format!("/chats/{chat}/debug/runs")).await.json(200);
        let mut runs = runs.as_array().expect("an array").clone();
        runs.retain(|run| run["kind"] == kind);
        if runs.len() == count && runs.iter().all(|run| run["status"] != json!("in_progress")) {
            return runs;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{runs:#?}");
        tokio::task::yield_now().await;
    }
}

async fn whole(api: &Api, chat: &str, run: &Value) -> Value {
    api.get(&format!("/chats/{chat}/debug/runs/{}", run["id"].as_str().expect("an id"))).await.json(200)
}

both! {
    async fn titles_are_recorded_beside_the_turns(h: Harness) {
        h.configure("[chat]\ndebug_runs = \"on\"");
        h.model.otherwise(|_| says("Done."));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("What is it?").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let automatic = ended_of(&api, &chat, "title_generation", 1).await.remove(0);
        api.send(&chat, "And then?").await;
        stream.answered(2).await;
        api.post(&format!("/chats/{chat}/title/propose"), json!({})).await.json(200);
        let manual = ended_of(&api, &chat, "title_generation", 2).await.remove(0);
        let history = api.history(&chat).await;
        for (run, last) in [(&automatic, &history[0]), (&manual, &history[2])] {
            assert_eq!((&run["status"], &run["model"], &run["summary"]["label"]), (&json!("completed"), &json!("fake-model"), &json!("What is it?")));
            let run = whole(&api, &chat, run).await;
            assert_eq!((&run["trigger_message_id"], &run["steps"].as_array().map(Vec::len)), (&last["id"], &Some(1)), "{run}");
            let step = &run["steps"][0];
            assert_eq!((&step["status"], &step["attempts"][0]["response_status"]), (&json!("completed"), &json!(200)));
            assert_eq!((step.get("assistant_message_id"), step["usage"].is_object()), (None, true), "{step}");
            assert!(step["normalized_response"].to_string().contains("A proposed title"), "{step}");
            assert!(!run.to_string().contains(crate::support::fake_model::FakeModel::KEY), "{run}");
        }
        // One that fails says so, and why.
        h.model.answer_titles(|_| fails(400, json!({ "error": { "message": "no titles" } })));
        api.post(&format!("/chats/{chat}/title/regenerate"), json!({})).await.problem(500);
        let failed = ended_of(&api, &chat, "title_generation", 3).await.remove(0);
        assert_eq!(failed["status"], json!("error"));
        let step = whole(&api, &chat, &failed).await["steps"][0].clone();
        assert_eq!((&step["attempts"][0]["response_status"], &step["attempts"][0]["status"]), (&json!(400), &json!("failed")));
        assert!(step["error"]["message"].is_string(), "{step}");
        assert_eq!(ended(&api, &chat, 2).await.len(), 2, "the turns are as they were");
    }

    async fn a_turn_is_recorded_without_its_secrets(h: Harness) {
        h.configure("[chat]\ndebug_runs = \"on\"");
        h.model.push([says("A1"), says("A2")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let owner = daemon.api_as(&daemon.token_for("owner", &[]).await);
        let stranger = daemon.api_as(&daemon.token_for("stranger", &[]).await);
        let chat = id(&owner.create_chat("What is it?").await);
        let mut stream = owner.stream(&chat, None).await;
        stream.answered(1).await;
        let runs = ended(&owner, &chat, 1).await;
        let run = &runs[0];
        assert_eq!((&run["kind"], &run["status"], &run["chat_id"]), (&json!("chat_turn"), &json!("completed"), &json!(chat)));
        assert_eq!((&run["model"], &run["summary"]["label"], &run["summary"]["steps"]), (&json!("fake-model"), &json!("What is it?"), &json!(1)));
        assert!(run["finished_at"].is_string() && run.get("steps").is_none() && run.get("root_chat_id").is_none(), "{run}");
        let whole_run = whole(&owner, &chat, run).await;
        assert_eq!(whole_run["root_chat_id"], json!(chat));
        let history = owner.history(&chat).await;
        assert_eq!(whole_run["trigger_message_id"], history[0]["id"]);
        let step = &whole_run["steps"][0];
        assert_eq!((&step["step_number"], &step["operation"], &step["status"]), (&json!(1), &json!("stream"), &json!("completed")));
        assert_eq!((&step["run_id"], &step["assistant_message_id"]), (&run["id"], &history[1]["id"]));
        assert!(step["usage"].is_object() && step["metadata"].is_object(), "{step}");
        assert_eq!(step["normalized_response"]["content"][0]["text"], json!("A1"));
        let attempt = &step["attempts"][0];
        assert_eq!((&attempt["number"], &attempt["status"], &attempt["method"], &attempt["response_status"]), (&json!(1), &json!("completed"), &json!("POST"), &json!(200)));
        assert_eq!((&attempt["request_headers"]["authorization"], &attempt["request_body"]["model"]), (&json!("[REDACTED]"), &json!("fake-model")));
        assert!(attempt["duration_ms"].is_u64() && attempt["path"] == json!("/v1/chat/completions"), "{attempt}");
        assert!(!whole_run.to_string().contains(crate::support::fake_model::FakeModel::KEY), "{whole_run}");

        let path = format!("/chats/{chat}/debug/runs");
        stranger.get(&path).await.problem(404);
        api.get(&path).await.json(200);
        owner.get(&format!("{path}/x")).await.problem(400);
        owner.get("/chats/x/debug/runs").await.problem(400);
        owner.get(&format!("{path}/11111111-1111-4111-8111-111111111111")).await.problem(404);
        owner.get("/chats/11111111-1111-4111-8111-111111111111/debug/runs").await.problem(404);
        owner.send(&chat, "And then?").await;
        stream.answered(2).await;
        let runs = ended(&owner, &chat, 2).await;
        assert_eq!(runs[0]["summary"]["label"], json!("And then?"), "newest first");

        // An edit takes away what was recorded of the history after it, once it is old enough.
        h.execute(&daemon, &format!("UPDATE debug_runs SET updated_at = started_at WHERE chat_id = {}", h.uuid(&chat))).await;
        let long_ago = if h.engine == crate::support::Engine::Sqlite { "updated_at - 60000000" } else { "updated_at - interval '1 minute'" };
        h.execute(&daemon, &format!("UPDATE debug_runs SET updated_at = {long_ago}")).await;
        h.model.push([says("A3")]);
        let second = history[1]["id"].as_i64().expect("an id") + 1;
        let asked = owner.history(&chat).await;
        let target = asked.iter().rev().find(|m| m["role"] == json!("user")).expect("a question")["id"].clone();
        assert!(target.as_i64().expect("an id") >= second);
        owner.patch(&format!("/chats/{chat}/messages/{target}"), text("Another")).await.json(200);
        stream.until("the new answer", |f| f.settled() && f.texts("assistant").contains(&"A3".to_owned())).await;
        // What was taken away may still be there when the answer is: the recorder comes after it.
        crate::support::outside::eventually("the new turn in place of the edited one", async || {
            let runs = ended(&owner, &chat, 2).await;
            (runs[0]["summary"]["label"] == "Another").then(|| assert_eq!(runs[1]["summary"]["label"], "What is it?"))
        })
        .await;
    }

    async fn an_interrupted_turn_says_so_and_nothing_is_recorded_when_off(h: Harness) {
        h.configure("[chat]\ndebug_runs = \"on\"");
        let gate = Gate::new();
        h.model.push([says("Wait ").gate(&gate).says("for it."), says("Off.")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Wait ").await;
        api.interrupt(&chat).await;
        stream.until("the end", crate::support::client::Fold::settled).await;
        let runs = ended(&api, &chat, 1).await;
        assert_eq!(runs[0]["status"], json!("interrupted"));
        let run = whole(&api, &chat, &runs[0]).await;
        assert_eq!(run["steps"][0]["status"], json!("interrupted"));
        daemon.stop().await;
        daemon.configure("[chat]\ndebug_runs = \"off\"");
        daemon.restart().await;
        let other = id(&api.create_chat("Q").await);
        api.stream(&other, None).await.answered(1).await;
        assert_eq!(api.get(&format!("/chats/{other}/debug/runs")).await.json(200), json!([]));
    }
}
