//! Compaction thresholds of users, and whether their model calls are recorded.

use super::{at, model_id, set, three_models};
use crate::support::{
    both,
    fake_model::{Tokens, says},
    turns::id,
};
use serde_json::json;

const STRANGE: &str = "11111111-1111-4111-8111-111111111111";

both! {
    async fn thresholds_belong_to_a_user_and_a_model(h: Harness) {
        three_models(&h);
        let daemon = h.daemon().await;
        let (api, user) = (daemon.api(), daemon.api_as(&daemon.token_for("user", &[]).await));
        let (fake, off) = (model_id(&api, "fake").await, model_id(&api, "off").await);
        let all = at("user-compaction-thresholds");
        let one = |id: &str| format!("{all}/{id}");
        let percent = |n: i64| json!({ "threshold_percent": n });
        assert_eq!(user.get(&all).await.json(200), json!({ "thresholds": [] }));
        for n in [0, 100, 40] {
            let stored = json!({ "model_config_id": fake, "threshold_percent": n });
            assert_eq!(user.put(&one(&fake), percent(n)).await.json(200), stored);
            assert_eq!(user.get(&all).await.json(200), json!({ "thresholds": [stored] }));
        }
        for n in [-1, 101] {
            let problem = user.put(&one(&fake), percent(n)).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], json!("threshold_percent"));
        }
        user.put(&one(&fake), json!({})).await.problem(400);
        user.put(&one(&fake), json!({ "big": "x".repeat(256 * 1024) })).await.problem(413);
        user.put(&one(STRANGE), percent(40)).await.problem(404);
        user.put(&one(&off), percent(40)).await.problem(400);
        user.put(&one("fake"), percent(40)).await.problem(400);
        assert_eq!(api.get(&all).await.json(200), json!({ "thresholds": [] }));
        user.delete(&one(&fake)).await.empty(204);
        user.delete(&one(&fake)).await.empty(204);
        user.delete(&one(STRANGE)).await.problem(404);
        user.delete(&one("fake")).await.problem(400);
        assert_eq!(user.get(&all).await.json(200), json!({ "thresholds": [] }));
    }

    async fn a_users_threshold_goes_before_the_models(h: Harness) {
        three_models(&h);
        h.model.push([
            says("A1").tokens(Tokens::new(800, 5)),
            says("A2").tokens(Tokens::new(500, 5)),
            says("All of it, in short."),
            says("A3").tokens(Tokens::new(100, 5)),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let path = at(&format!("user-compaction-thresholds/{}", model_id(&api, "fake").await));
        // The context has 1,000 tokens and the model's own threshold is 70 percent.
        api.put(&path, json!({ "threshold_percent": 100 })).await.json(200);
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        api.send(&chat, "Q2").await;
        stream.answered(2).await;
        assert_eq!(h.turns(), 2, "100 is never");
        api.put(&path, json!({ "threshold_percent": 50 })).await.json(200);
        api.send(&chat, "Q3").await;
        let held = stream.until("the third answer", |f| f.settled() && f.texts("assistant").contains(&"A3".to_owned())).await;
        assert_eq!(held.parts_of("tool-call")[0]["args"]["threshold_percent"], json!(50));
        assert_eq!(h.turns(), 4);
    }

    async fn recording_is_the_administrators_to_allow(h: Harness) {
        let daemon = h.daemon().await;
        let (api, user) = (daemon.api(), daemon.api_as(&daemon.token_for("user", &[]).await));
        let (deployment, own) = (at("debug-logging"), at("user-debug-logging"));
        let shown = |on: bool, allowed: bool| {
            json!({ "debug_logging_enabled": on, "user_toggle_allowed": allowed, "forced_by_deployment": false })
        };
        assert_eq!(api.get(&deployment).await.json(200), json!({ "allow_users": false, "forced_by_deployment": false }));
        user.get(&deployment).await.problem(404);
        user.put(&deployment, json!({ "allow_users": true })).await.problem(403);
        api.put(&deployment, json!({})).await.problem(400);
        assert_eq!(user.get(&own).await.json(200), shown(false, false));
        user.put(&own, json!({ "debug_logging_enabled": true })).await.problem(403);
        set(&api, "debug-logging", json!({ "allow_users": true })).await;
        assert_eq!(user.get(&own).await.json(200), shown(false, true));
        user.put(&own, json!({ "debug_logging_enabled": "yes" })).await.problem(400);
        user.put(&own, json!({ "debug_logging_enabled": true })).await.empty(204);
        assert_eq!(user.get(&own).await.json(200), shown(true, true));
        assert_eq!(api.get(&own).await.json(200), shown(false, true));
        set(&api, "debug-logging", json!({ "allow_users": false })).await;
        assert_eq!(user.get(&own).await.json(200), shown(false, false), "no longer allowed");
    }

    async fn recording_that_the_configuration_demands_is_nobodys_to_change(h: Harness) {
        h.configure("[chat]\ndebug_runs = \"on\"");
        let daemon = h.daemon().await;
        let api = daemon.api();
        let own = at("user-debug-logging");
        assert_eq!(api.get(&at("debug-logging")).await.json(200), json!({ "allow_users": false, "forced_by_deployment": true }));
        assert_eq!(api.get(&own).await.json(200), json!({
            "debug_logging_enabled": true, "user_toggle_allowed": false, "forced_by_deployment": true
        }));
        api.put(&own, json!({ "debug_logging_enabled": false })).await.problem(409);
    }
}
