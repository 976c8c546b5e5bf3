//! What was exported from either engine is served from both as it was.

use super::{ENGINES, Engine, Target, keys, rows};
use crate::{
    people::person,
    support::{
        both,
        client::Api,
        daemon::DaemonProcess,
        fake_model::{FakeModel, Gate, says},
        turns::id,
    },
    workspaces::{create, has_status},
};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;

const EXTERNAL: &str = "[[templates]]\nname = \"mine\"\nkind = \"external\"\n";
const KEY: &str = "sk-central-0123456789";

/// What moves with each request of a caller.
fn still(mut answer: Value) -> Value {
    match &mut answer {
        Value::Object(fields) => {
            fields.retain(|name, _| !["last_seen_at", "last_used", "last_used_at"].contains(&name.as_str()));
            fields.values_mut().for_each(|value| *value = still(value.take()));
        }
        Value::Array(all) => all.iter_mut().for_each(|value| *value = still(value.take())),
        _ => {}
    }
    answer
}

/// The answers to what people ask for.
async fn answers(admin: &Api, ann: &Api, chats: &[&str]) -> Vec<(String, Value)> {
    let mut said = Vec::new();
    let mut paths: Vec<String> = [
        "/api/v2/users",
        "/api/v2/organizations",
        "/api/v2/ai/providers",
        "/chats/model-configs",
        "/api/v2/templates",
        "/api/v2/workspaces",
        "/api/v2/chats/config/retention-days",
        "/chats?q=search:zebra",
        "/chats?q=search:giraffe",
        "/chats",
    ]
    .map(str::to_owned)
    .into();
    paths.extend(chats.iter().flat_map(|c| [format!("/chats/{c}"), format!("/chats/{c}/messages")]));
    for path in paths {
        let answer = still(admin.get(&path).await.json(200));
        said.push((path, answer));
    }
    for path in
        ["/api/v2/users/me", "/users/me/skills/go-home", "/api/v2/users/me/ai-provider-keys", "/chats"]
    {
        said.push((format!("ann {path}"), still(ann.get(path).await.json(200))));
    }
    said
}

async fn sign_in(daemon: &DaemonProcess) -> Api {
    let body = json!({ "email": "ann@example.test", "password": "correct horse battery" });
    let answer = Api::new(daemon.url(), None).post("/api/v2/users/login", body).await.json(201);
    daemon.api_as(answer["session_token"].as_str().expect("a session token"))
}

both! {
    async fn a_database_goes_to_either_engine_and_is_served_as_it_was(h: Harness) {
        h.configure(EXTERNAL);
        h.model.push([says("It is striped, like a zebra."), says("Seen.")]);
        let mut daemon = h.daemon().await;
        let admin = daemon.api();
        let ann = person(&daemon, "ann", json!({})).await;
        let file = id(&admin.upload("a \u{1F993}.txt", "text/plain", vec![b'z'; 700 * 1024]).await.json(201));
        let body = json!({ "content": [{ "type": "text", "text": "What is this, \u{1F993}\u{0} \"quoted\"?" },
            { "type": "file", "file_id": file }], "labels": { "b": "1", "a": "2" } });
        let chat = id(&admin.create_chat_with(body).await);
        admin.stream(&chat, None).await.answered(1).await;
        let theirs = id(&ann.create_chat("Have you seen a giraffe?").await);
        ann.stream(&theirs, None).await.answered(1).await;
        let me = id(&ann.get("/api/v2/users/me").await.json(200));
        admin.patch(&format!("/chats/{chat}/acl"), json!({ "user_roles": { me: "read" } })).await.empty(204);
        let skill = json!({ "content": "---\nname: go-home\ndescription: About home\n---\nWalk.\n" });
        ann.post("/users/me/skills", skill).await.json(201);
        let provider = json!({ "type": "openai-compat", "name": "mine", "enabled": true,
            "base_url": format!("{}/v1", h.model.url()), "api_keys": [KEY] });
        let provider = admin.post("/api/v2/ai/providers", provider).await.json(201);
        let model = json!({ "ai_provider_id": provider["id"], "model": "m-one", "context_limit": 100_000 });
        let model = admin.post("/chats/model-configs", model).await.json(201);
        ann.put("/api/v2/users/me/ai-provider-keys/mine", json!({ "api_key": "sk-ann-0123456789" })).await.json(200);
        let retention = json!({ "retention_days": 7 });
        admin.put("/api/v2/chats/config/retention-days", retention).await;
        let workspace = create(&admin, "dev", "mine").await;
        has_status(&admin, &workspace, "running").await;
        let before = answers(&admin, &ann, &[&chat, &theirs]).await;

        let export = h.folder().join("all.jsonl");
        let path = export.to_str().unwrap();
        let ran = daemon.command(&["export", path]).await;
        assert_eq!((ran.status, ran.out.as_str()), (0, ""), "{ran:?}");
        assert!(ran.err.contains("the encryption keys") && ran.err.contains("keep a copy"), "{}", ran.err);
        assert_eq!(std::fs::metadata(&export).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&export).unwrap();
        assert!(!text.contains(KEY) && !text.contains("sk-ann") && !text.contains("replica_secret"));
        assert!(!text.contains("worker_id") && !text.contains("runner_id") && !text.contains("chat_heartbeats"));
        daemon.stop().await;

        for engine in ENGINES {
            let target = Target::new(&h, engine, "moved").await;
            let done = target.import(&export).await;
            assert_eq!((done.status, done.out.as_str()), (0, ""), "{done:?}");
            assert!(done.err.contains("copy them there"), "the keys are not there yet: {}", done.err);
            std::fs::copy(keys(&h, &daemon), target.home.join("keys")).unwrap();
            assert_eq!(rows(&target.exported().await), rows(&text), "{:?} to {engine:?}", h.engine);

            let mut there = target.daemon(&h).await;
            let (api, ann) = (admin.at(there.url()), ann.at(there.url()));
            for (a, b) in before.iter().zip(answers(&api, &ann, &[&chat, &theirs]).await) {
                assert_eq!(*a, b, "{:?} to {engine:?}", h.engine);
            }
            let got = api.get(&format!("/chats/files/{file}")).await;
            assert_eq!((got.status, got.body.len()), (200, 700 * 1024));
            ann.get(&format!("/chats/{chat}")).await.json(200);
            let found = api.get("/chats?q=search:zebra").await.json(200);
            assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
            // Numbers of rows go on; passwords and sealed keys are of use.
            h.model.push([says("An okapi.")]);
            api.send(&chat, "And this?").await;
            api.stream(&chat, None).await.answered(2).await;
            let history = api.history(&chat).await;
            let ids: Vec<i64> = history.iter().map(|m| m["id"].as_i64().unwrap()).collect();
            assert!(ids.len() == 4 && ids.is_sorted(), "{ids:?}");
            assert_eq!(api.get("/chats?q=search:okapi").await.json(200).as_array().map(Vec::len), Some(1));
            let again = sign_in(&there).await;
            h.model.expect_key(Some("sk-ann-0123456789"));
            h.model.push([says("An answer.")]);
            let body = json!({ "content": [{ "type": "text", "text": "Q" }], "model_config_id": model["id"] });
            let new = id(&again.create_chat_with(body).await);
            assert_eq!(again.stream(&new, None).await.answered(1).await.texts("assistant"), ["An answer."]);
            there.stop().await;
            h.model.expect_key(Some(FakeModel::KEY));
            target.remove().await;
        }
    }

    async fn a_chat_that_ran_goes_on_in_the_target(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("Half a").gate(&gate), says("A whole answer."), says("And more.")]);
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Half a").await;
        api.send(&chat, "Then this").await;
        let ran = daemon.command(&["export", "-"]).await;
        assert_eq!(ran.status, 0, "{}", ran.err);
        daemon.kill_9().await;
        drop(stream);
        let engine = if h.engine == Engine::Sqlite { Engine::Postgres } else { Engine::Sqlite };
        let target = Target::new(&h, engine, "goes_on").await;
        let done = target.run(&["import", "-"], &ran.out).await;
        assert_eq!(done.status, 0, "{}", done.err);
        assert!(!done.err.contains("encryption"), "nothing is sealed, so no keys are needed: {}", done.err);
        let mut there = target.daemon(&h).await;
        let mut stream = api.at(there.url()).stream(&chat, None).await;
        assert_eq!(stream.answered(2).await.texts("assistant"), ["A whole answer.", "And more."]);
        there.stop().await;
        target.remove().await;
    }
}
