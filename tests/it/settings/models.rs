//! Models that are set for what nobody picks a model for.

use super::{at, model_id, set, three_models};
use crate::support::{
    both,
    fake_model::{proposes, says},
    turns::id,
};
use serde_json::{Value, json};

const STRANGE: &str = "11111111-1111-4111-8111-111111111111";

fn model(id: &str) -> Value {
    json!({ "model_config_id": id })
}

both! {
    async fn administrators_set_models_for_subagents_and_titles(h: Harness) {
        three_models(&h);
        let daemon = h.daemon().await;
        let (api, user) = (daemon.api(), daemon.api_as(&daemon.token_for("user", &[]).await));
        let (other, off) = (model_id(&api, "other").await, model_id(&api, "off").await);
        for context in ["general", "explore", "title_generation"] {
            let path = at(&format!("model-override/{context}"));
            let shown = |id: &str| json!({ "context": context, "model_config_id": id, "is_malformed": false });
            assert_eq!(api.get(&path).await.json(200), shown(""));
            user.get(&path).await.problem(404);
            user.put(&path, model(&other)).await.problem(403);
            for wrong in [STRANGE, off.as_str(), "other"] {
                let problem = api.put(&path, model(wrong)).await.problem(400);
                assert_eq!(problem["validations"][0]["field"], json!("model_config_id"));
            }
            api.put(&path, json!({})).await.problem(400);
            api.put(&path, model(&other)).await.empty(204);
            assert_eq!(api.get(&path).await.json(200), shown(&other));
            api.put(&path, model("")).await.empty(204);
            assert_eq!(api.get(&path).await.json(200), shown(""));
        }
        let with_effort = json!({ "model_config_id": other, "reasoning_effort": "low" });
        set(&api, "model-override/general", with_effort).await;
        assert_eq!(api.get(&at("model-override/general")).await.json(200)["reasoning_effort"], json!("low"));
        api.get(&at("model-override/root")).await.problem(404);
        api.put(&at("model-override/root"), model(&other)).await.problem(404);
        user.put(&at("model-override/root"), model(&other)).await.problem(403);
        // A model that has gone since.
        let gone = format!(
            "INSERT INTO deployment_settings (key, value, updated_at) VALUES \
             ('model-override/explore', '{{\"model_config_id\":\"{STRANGE}\"}}', {})",
            h.moment(0)
        );
        h.execute(&daemon, &gone).await;
        set(&api, "desktop-enabled", json!({ "enable_desktop": true })).await;
        let shown = api.get(&at("model-override/explore")).await.json(200);
        assert_eq!((&shown["model_config_id"], &shown["is_malformed"]), (&json!(STRANGE), &json!(true)));
    }

    async fn titles_are_made_by_the_model_that_is_set_for_them(h: Harness) {
        three_models(&h);
        h.model.push([says("A")]);
        h.model.answer_titles(|request| proposes(request, &json!({ "title": "Named by another" })));
        let daemon = h.daemon().await;
        let api = daemon.api();
        set(&api, "model-override/title_generation", model(&model_id(&api, "other").await)).await;
        let mut watch = api.watch().await;
        let chat = id(&api.create_chat("one two three four five six seven").await);
        watch.kind("title_change", &chat).await;
        api.stream(&chat, None).await.answered(1).await;
        assert_eq!(h.turn(0).await.model(), "fake-model");
        assert_eq!(h.model.side_request(0).await.model(), "other-model");
    }

    async fn users_set_models_of_their_own_where_they_may(h: Harness) {
        three_models(&h);
        h.model.otherwise(|request| says(request.model().to_owned()));
        let daemon = h.daemon().await;
        let (api, user) = (daemon.api(), daemon.api_as(&daemon.token_for("user", &[]).await));
        let (fake, other, off) =
            (model_id(&api, "fake").await, model_id(&api, "other").await, model_id(&api, "off").await);
        let all = at("user-personal-model-overrides");
        let one = |context: &str| format!("{all}/{context}");
        let own = |id: &str| json!({ "mode": "model", "model_config_id": id });
        let unset = |context: &str, mode: &str| {
            json!({ "context": context, "mode": mode, "model_config_id": "", "is_set": false, "is_malformed": false })
        };
        let default = |context: &str| json!({ "context": context, "model_config_id": "", "is_malformed": false });
        assert_eq!(user.get(&all).await.json(200), json!({
            "enabled": false,
            "root": unset("root", "chat_default"),
            "general": unset("general", "deployment_default"),
            "explore": unset("explore", "deployment_default"),
            "deployment_defaults": { "general": default("general"), "explore": default("explore") },
        }));
        user.put(&one("root"), own(&other)).await.problem(403);
        set(&api, "personal-model-overrides", json!({ "allow_users": true })).await;
        user.put(&one("titles"), own(&other)).await.problem(404);
        for (context, body, field) in [
            ("root", own(STRANGE), "model_config_id"),
            ("root", own(&off), "model_config_id"),
            ("root", own(""), "model_config_id"),
            ("root", json!({ "mode": "model" }), "model_config_id"),
            ("root", json!({ "mode": "deployment_default" }), "mode"),
            ("root", json!({ "mode": "none" }), "mode"),
            ("root", json!({ "model_config_id": other }), "mode"),
            ("explore", json!({ "mode": "chat_default", "model_config_id": other }), "model_config_id"),
            ("explore", json!({ "mode": "model", "model_config_id": other, "reasoning_effort": "extreme" }), "reasoning_effort"),
        ] {
            let problem = user.put(&one(context), body).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], json!(field), "{context}: {problem}");
        }
        user.put(&one("general"), json!({ "mode": "deployment_default", "model_config_id": "" })).await.empty(204);
        user.put(&one("explore"), json!({ "mode": "chat_default" })).await.empty(204);
        user.put(&one("root"), own(&other)).await.empty(204);
        let shown = user.get(&all).await.json(200);
        assert_eq!(shown["enabled"], json!(true));
        assert_eq!(shown["root"], json!({
            "context": "root", "mode": "model", "model_config_id": other, "is_set": true, "is_malformed": false
        }));
        assert_eq!((&shown["general"]["is_set"], &shown["explore"]["mode"]), (&json!(true), &json!("chat_default")));
        assert_eq!(api.get(&all).await.json(200)["root"]["is_set"], json!(false), "everybody has their own");

        // New chats: the pick, else the own model, else the default.
        let chat = user.create_chat("Q").await;
        assert_eq!(chat["last_model_config_id"], json!(other));
        user.stream(&id(&chat), None).await.answered(1).await;
        assert_eq!(h.turn(0).await.model(), "other-model");
        let picked = json!({ "model_config_id": fake, "content": [{ "type": "text", "text": "Q" }] });
        assert_eq!(user.create_chat_with(picked).await["last_model_config_id"], json!(fake));
        assert_eq!(api.create_chat("Q").await["last_model_config_id"], json!(fake));
        set(&api, "personal-model-overrides", json!({ "allow_users": false })).await;
        assert_eq!(user.create_chat("Q").await["last_model_config_id"], json!(fake));
    }

    async fn a_model_of_ones_own_that_is_gone_gives_way_to_the_default(h: Harness) {
        three_models(&h);
        h.model.otherwise(|_| says("A"));
        let daemon = h.daemon().await;
        let api = daemon.api();
        set(&api, "personal-model-overrides", json!({ "allow_users": true })).await;
        let gone = format!(
            "INSERT INTO user_settings (user_id, key, value) SELECT id, 'personal-model-override/root', \
             '{{\"mode\":\"model\",\"model_config_id\":\"{STRANGE}\"}}' FROM users"
        );
        h.execute(&daemon, &gone).await;
        let shown = api.get(&at("user-personal-model-overrides")).await.json(200);
        assert_eq!((&shown["root"]["is_malformed"], &shown["root"]["model_config_id"]), (&json!(true), &json!(STRANGE)));
        let fake = model_id(&api, "fake").await;
        assert_eq!(api.create_chat("Q").await["last_model_config_id"], json!(fake));
    }
}
