//! What the configuration declares is kept in step at each start.

use super::{chat_with, model};
use crate::support::{Engine, both, client::Api, fake_model::says, run};
use serde_json::{Value, json};

/// The declared model and one more.
fn two_models(provider: &str) -> String {
    let model = |name: &str, display: &str| {
        format!(
            "[[models]]\nname = \"{name}\"\nprovider = \"{provider}\"\nmodel = \"{name}-model\"\ndisplay_name = \"{display}\"\n\
             default = {}\ncontext_limit = 1000\nmax_output_tokens = 100\n",
            name == "one"
        )
    };
    model("one", "One") + &model("two", "Two")
}

async fn named(api: &Api, model: &str) -> Option<Value> {
    let all = api.get("/chats/model-configs").await.json(200);
    all.as_array().unwrap().iter().find(|c| c["model"] == model).cloned()
}

both! {
    async fn a_model_that_disappears_and_comes_back_is_the_same(h: Harness) {
        h.configure(&two_models("fake"));
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        h.model.otherwise(|_| says("Fine."));
        let all = api.get("/chats/model-configs").await.json(200);
        let order: Vec<_> = all.as_array().unwrap().iter().map(|c| c["display_name"].clone()).collect();
        assert_eq!(order, [json!("One"), json!("Two")], "in the order of the file");
        let two = named(&api, "two-model").await.expect("declared");
        let chat = chat_with(&api, &two, "Q1").await;
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        drop(stream);
        daemon.stop().await;
        daemon.configure(&two_models("fake").split("[[models]]").take(2).collect::<Vec<_>>().join("[[models]]"));
        daemon.restart().await;
        assert!(named(&api, "two-model").await.is_none());
        api.send(&chat, "Q2").await;
        let mut stream = api.stream(&chat, None).await;
        stream.answered(2).await;
        assert_eq!(h.turn(1).await.model(), "one-model", "the default stands in");
        drop(stream);
        daemon.stop().await;
        daemon.configure(&two_models("fake").replace("\"Two\"", "\"Second\""));
        daemon.restart().await;
        let back = named(&api, "two-model").await.expect("declared again");
        assert_eq!((&back["id"], &back["display_name"]), (&two["id"], &json!("Second")));
        assert_ne!(back["updated_at"], two["updated_at"]);
        assert_eq!(back["created_at"], two["created_at"]);
        assert_eq!(api.chat(&chat).await["last_model_config_id"], two["id"]);
        daemon.stop().await;
        daemon.restart().await;
        assert_eq!(named(&api, "two-model").await.expect("declared")["updated_at"], back["updated_at"], "nothing changed");
    }

    async fn a_provider_that_disappears_leaves_the_models_of_the_api_to_administrators(h: Harness) {
        let mut daemon = h.daemon().await;
        let api = daemon.api();
        let fake = api.get("/api/v2/ai/providers/fake").await.json(200);
        let mine = model(&api, &fake, "mine").await;
        // Clients can tell what they may change.
        let theirs = named(&api, "fake-model").await.expect("declared");
        assert_eq!((&fake["declared"], &theirs["declared"]), (&json!(true), &json!(true)));
        assert!(mine.get("declared").is_none(), "{mine}");
        daemon.stop().await;
        daemon.configure(&format!(
            "[[providers]]\nname = \"other\"\ntype = \"openai-compatible\"\nbase_url = \"{}/v1\"\napi_key = \"test-key\"\n{}",
            h.model.url(), two_models("other")
        ));
        daemon.restart().await;
        let left = api.get("/api/v2/ai/providers/fake").await.json(200);
        assert_eq!((&left["id"], &left["enabled"]), (&fake["id"], &json!(false)));
        assert!(left.get("declared").is_none(), "{left}");
        assert!(named(&api, "fake-model").await.is_none());
        assert_eq!(named(&api, "mine").await.expect("still there")["id"], mine["id"]);
        // It is the API's now.
        api.patch("/api/v2/ai/providers/fake", json!({ "enabled": true })).await.json(200);
        api.delete(&format!("/chats/model-configs/{}", mine["id"].as_str().unwrap())).await.empty(204);
        api.delete("/api/v2/ai/providers/fake").await.empty(204);
        // And the name can be declared again.
        daemon.stop().await;
        daemon.configure(&format!(
            "[[providers]]\nname = \"fake\"\ntype = \"openai-compatible\"\nbase_url = \"{}/v1\"\napi_key = \"test-key\"\n{}",
            h.model.url(), two_models("fake")
        ));
        daemon.restart().await;
        assert_eq!(api.get("/api/v2/ai/providers/fake").await.json(200)["id"], fake["id"]);
        api.get("/api/v2/ai/providers/other").await.problem(404);
    }
}

#[test]
fn replicas_that_start_at_once_agree() {
    run(Engine::Postgres, "declared_at_once", |h| async move {
        h.configure(&two_models("fake"));
        // The first one migrates and makes the first user; the others race.
        let first = h.daemon().await;
        let token = first.token();
        h.configure(&two_models("fake").replace("\"Two\"", "\"Second\""));
        let (a, b, c) = tokio::join!(h.daemon(), h.daemon(), h.daemon());
        let mut seen = Vec::new();
        for daemon in [&a, &b, &c] {
            let api = daemon.api_as(&token);
            assert_eq!(named(&api, "two-model").await.expect("declared")["display_name"], "Second");
            seen.push(api.get("/chats/model-configs").await.json(200));
        }
        assert!(seen.iter().all(|s| *s == seen[0]), "{seen:#?}");
        assert_eq!(seen[0].as_array().unwrap().len(), 2);
    });
}
