//! One chat, several providers.

use crate::support::{
    both,
    fake_model::{FakeModel, Wire, fails, says, thinks},
    turns::{id, text},
};
use serde_json::json;

/// Three providers behind the one fake.
fn three(url: &str) -> String {
    let mut toml = String::new();
    for (name, kind, path) in
        [("claude", "anthropic", ""), ("gpt", "openai", "/v1"), ("other", "openai-compatible", "/v1")]
    {
        let default = name == "claude";
        toml.push_str(&format!(
            "[[providers]]\nname = \"{name}\"\ntype = \"{kind}\"\napi_key = \"{}\"\nbase_url = \"{url}{path}\"\n\
             [[models]]\nname = \"{name}\"\nprovider = \"{name}\"\nmodel = \"{name}-model\"\ndefault = {default}\n\
             context_limit = 100000\nmax_output_tokens = 1000\n",
            FakeModel::KEY
        ));
    }
    toml
}

both! {
    async fn a_chat_may_wander_between_providers(h: Harness) {
        h.configure(&three(&h.model.url()));
        let round = ["gpt-model", "other-model", "claude-model", "gpt-model", "claude-model"];
        for n in 0..=round.len() {
            h.model.push([
                thinks(format!("Thought {n}.")).says("Looking. ").calls("execute", json!({ "command": format!("echo r{n}"), "timeout": "5s" })),
                thinks(format!("Afterthought {n}.")).says(format!("Answer {n}.")),
            ]);
        }
        h.model.push([says("Last words.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let configs = api.get("/chats/model-configs").await.json(200);
        let chat = id(&api.create_chat("Q0").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(2).await;
        for (n, model) in round.iter().enumerate() {
            let found = configs.as_array().expect("a list").iter().find(|c| c["model"] == *model);
            let mut body = text(&format!("Q{}", n + 1));
            body["model_config_id"] = found.unwrap_or_else(|| panic!("no {model}: {configs}"))["id"].clone();
            api.post(&format!("/chats/{chat}/messages"), body).await.json(200);
            stream.answered(2 * (n + 2)).await;
        }
        api.send(&chat, "Enough.").await;
        stream.answered(2 * (round.len() + 1) + 1).await;
        let last = h.turn(2 * (round.len() + 1)).await;
        assert_eq!(last.model(), "claude-model");
        assert_eq!(last.tool_results().len(), round.len() + 1);
        for n in 0..=round.len() {
            assert!(last.mentions(&format!("Answer {n}.")), "{}", last.summary());
        }
        // Signed by Anthropic, so it is understood there; the other providers' reasoning is not.
        assert!(last.mentions("signature of") && !last.mentions("sealed"));
    }

    async fn what_the_provider_does_not_know_again_is_told_in_plain_words(h: Harness) {
        h.speak(Wire::Anthropic);
        let refused = || {
            let message = "messages.1.content.0: Invalid `signature` in `thinking` block";
            fails(400, json!({ "type": "error", "error": { "type": "invalid_request_error", "message": message } }))
        };
        h.model.push([
            thinks("T1").says("A1"),
            refused(),
            says("A2"),
            refused(),
            refused(),
            refused(),
            says("In short."),
            says("A3"),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        api.send(&chat, "Q2").await;
        assert_eq!(stream.answered(2).await.texts("assistant"), ["A1", "A2"]);
        assert!(h.turn(1).await.mentions("signature of"));
        let plain = h.turn(2).await;
        assert!(plain.mentions("A1") && !plain.mentions("signature of"), "{}", plain.summary());
        // Once without, not again and again.
        api.send(&chat, "Q3").await;
        let held = stream.until("the error", |f| f.error.is_some()).await;
        assert_eq!(held.error.as_ref().expect("an error")["retryable"], json!(false));
        assert_eq!(h.turns(), 5);
        // And so a compaction gets through, and the question is answered after it.
        api.post(&format!("/chats/{chat}/compact"), json!({})).await.json(200);
        stream.until("the answer", |f| f.settled() && f.texts("assistant").contains(&"A3".to_owned())).await;
        assert!(h.turn(5).await.mentions("signature of") && !h.turn(6).await.mentions("signature of"));
    }

    async fn what_one_provider_signed_is_not_shown_to_another_with_a_model_of_the_same_name(h: Harness) {
        let mut toml = String::new();
        for (name, default) in [("east", true), ("west", false)] {
            toml.push_str(&format!(
                "[[providers]]\nname = \"{name}\"\ntype = \"anthropic\"\napi_key = \"{}\"\nbase_url = \"{}/{name}\"\n\
                 [[models]]\nname = \"{name}\"\nprovider = \"{name}\"\nmodel = \"same\"\ndefault = {default}\n\
                 context_limit = 100000\nmax_output_tokens = 1000\n",
                FakeModel::KEY,
                h.model.url()
            ));
        }
        h.configure(&toml);
        h.model.push((1..=3).map(|n| thinks(format!("Thought {n}.")).says(format!("Answer {n}."))));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let configs = api.get("/chats/model-configs").await.json(200);
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        for (n, name) in [(2, "west"), (3, "east")] {
            let found = configs.as_array().expect("a list").iter().find(|c| c["display_name"] == *name);
            let mut body = text(&format!("Q{n}"));
            body["model_config_id"] = found.unwrap_or_else(|| panic!("no {name}: {configs}"))["id"].clone();
            api.post(&format!("/chats/{chat}/messages"), body).await.json(200);
            stream.answered(n).await;
        }
        let (second, third) = (h.turn(1).await, h.turn(2).await);
        assert!(second.mentions("Answer 1.") && !second.mentions("signature of"), "{}", second.summary());
        let thoughts: Vec<bool> = [1, 2].map(|n| third.mentions(&format!("Thought {n}."))).into();
        assert_eq!(thoughts, [true, false], "{}", third.summary());
    }
}
