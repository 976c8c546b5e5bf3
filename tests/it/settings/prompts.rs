//! The prompts of the deployment, of plan mode and of users.

use super::{at, set};
use crate::support::{both, fake_model::says, turns::id};
use serde_json::{Value, json};

/// Where these texts stand in a text, in order.
fn in_order(system: &str, texts: &[&str]) {
    let places: Vec<_> = texts.iter().map(|text| system.find(text)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} of {texts:?} in {system}");
}

both! {
    async fn the_prompt_of_the_deployment_is_read_and_set(h: Harness) {
        let daemon = h.daemon().await;
        let (api, user) = (daemon.api(), daemon.api_as(&daemon.token_for("user", &[]).await));
        let path = at("system-prompt");
        let shown = api.get(&path).await.json(200);
        assert_eq!((&shown["system_prompt"], &shown["include_default_system_prompt"]), (&json!(""), &json!(true)));
        assert!(shown["default_system_prompt"].as_str().is_some_and(|text| text.len() > 100), "{shown}");
        user.get(&path).await.problem(404);
        user.put(&path, json!({ "system_prompt": "mine" })).await.problem(403);
        set(&api, "system-prompt", json!({ "system_prompt": "A", "include_default_system_prompt": false })).await;
        // A missing flag keeps the stored one; what nobody sees is removed.
        set(&api, "system-prompt", json!({ "system_prompt": " B\u{200B}\r\n" })).await;
        let shown = api.get(&path).await.json(200);
        assert_eq!((&shown["system_prompt"], &shown["include_default_system_prompt"]), (&json!("B"), &json!(false)));
        set(&api, "system-prompt", json!({ "system_prompt": "x".repeat(131_072) })).await;
        let problem = api.put(&path, json!({ "system_prompt": "x".repeat(131_073) })).await.problem(400);
        assert_eq!(problem["validations"][0]["field"], json!("system_prompt"));
        api.put(&path, json!({ "system_prompt": "x".repeat(256 * 1024) })).await.problem(413);
        api.put(&path, json!({ "include_default_system_prompt": true })).await.problem(400);
    }

    async fn a_users_prompt_is_their_own(h: Harness) {
        let daemon = h.daemon().await;
        let (api, user) = (daemon.api(), daemon.api_as(&daemon.token_for("user", &[]).await));
        let path = at("user-prompt");
        let prompt = |text: &str| json!({ "custom_prompt": text });
        assert_eq!(user.get(&path).await.json(200), prompt(""));
        assert_eq!(user.put(&path, prompt("Be\u{2060} brief.")).await.json(200), prompt("Be brief."));
        assert_eq!(user.get(&path).await.json(200), prompt("Be brief."));
        assert_eq!(api.get(&path).await.json(200), prompt(""));
        user.put(&path, prompt(&"x".repeat(131_072))).await.json(200);
        user.put(&path, prompt(&"x".repeat(131_073))).await.problem(400);
        user.put(&path, prompt(&"x".repeat(256 * 1024))).await.problem(413);
        user.put(&path, json!({})).await.problem(400);
        user.put(&path, prompt("")).await.json(200);
        assert_eq!(user.get(&path).await.json(200), prompt(""));
    }

    async fn a_chat_keeps_the_prompt_it_was_made_with_and_turns_take_the_rest_as_it_is(h: Harness) {
        h.model.push([says("A1"), says("A2"), says("A3")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let built_in = api.get(&at("system-prompt")).await.json(200)["default_system_prompt"].clone();
        let built_in = built_in.as_str().expect("a text").lines().next().expect("a line").to_owned();
        set(&api, "system-prompt", json!({ "system_prompt": "We are ACME." })).await;
        set(&api, "plan-mode-instructions", json!({ "plan_mode_instructions": "Number the steps." })).await;
        api.put(&at("user-prompt"), json!({ "custom_prompt": "Call me Ishmael." })).await.json(200);
        let body = json!({
            "system_prompt": "Only this chat.", "plan_mode": "plan", "content": [{ "type": "text", "text": "Q1" }]
        });
        let chat = id(&api.create_chat_with(body).await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let user = "<user-instructions>\nCall me Ishmael.\n</user-instructions>";
        in_order(
            &h.turn(0).await.system(),
            &[&built_in, "We are ACME.", "Only this chat.", "This chat has no workspace yet.", user, "Number the steps."],
        );
        assert_eq!(stream.fold.roles(), ["user", "assistant"], "system rows are for the model alone");

        let nothing = json!({ "system_prompt": "", "include_default_system_prompt": false });
        set(&api, "system-prompt", nothing).await;
        set(&api, "plan-mode-instructions", json!({ "plan_mode_instructions": "Letter the steps." })).await;
        api.put(&at("user-prompt"), json!({ "custom_prompt": "Call me Ahab." })).await.json(200);
        api.send(&chat, "Q2").await;
        stream.answered(2).await;
        let system = h.turn(1).await.system();
        in_order(&system, &[&built_in, "We are ACME.", "Only this chat.", "Call me Ahab.", "Letter the steps."]);
        assert!(!system.contains("Ishmael") && !system.contains("Number"), "{system}");

        let plain = id(&api.create_chat("Q3").await);
        let mut stream = api.stream(&plain, None).await;
        stream.answered(1).await;
        let system = h.turn(2).await.system();
        for absent in [built_in.as_str(), "ACME", "steps"] {
            assert!(!system.contains(absent), "{absent} in {system}");
        }
        let rows = format!("SELECT count(*) AS n FROM chat_messages WHERE role = 'system' AND chat_id = {}", h.uuid(&plain));
        assert_eq!(h.number(&daemon, &rows).await, 1, "only what it is told of its workspace");
        let _: Value = api.chat(&plain).await;
    }
}
