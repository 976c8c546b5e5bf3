//! Nothing secret leaves: not in logs, not in answers, not in figures.

use crate::support::{
    Engine, both,
    client::Api,
    fake_model::{Wire, fails, says},
};
use serde_json::json;

const KEY: &str = "sk-canary-provider-key-0123456789";

both! {
    async fn keys_and_tokens_stay_inside(h: Harness) {
        h.log.forbid(KEY);
        h.log.forbid("canary-in-query");
        h.configure("[log]\nfilter = \"debug,chatd=trace,hyper=trace,reqwest=trace,actix=trace,tungstenite=trace\"");
        h.model.expect_key(Some(KEY));
        for wire in [Wire::Chat, Wire::Anthropic] {
            h.speak(wire);
            let provider = if wire == Wire::Chat { ("openai-compatible", "/v1") } else { ("anthropic", "") };
            h.configure(&format!(
                "[[providers]]\nname = \"fake\"\ntype = \"{}\"\napi_key = \"{KEY}\"\nbase_url = \"{}{}\"\n",
                provider.0, h.model.url(), provider.1
            ));
            let mut daemon = h.daemon().await;
            if wire == Wire::Chat || h.engine == Engine::Sqlite {
                h.log.forbid(daemon.token().split_once('-').unwrap().1);
            }
            let api = if wire == Wire::Chat || h.engine == Engine::Sqlite {
                daemon.api()
            } else {
                daemon.api_as(&daemon.token_for("second", &[]).await)
            };
            let mut said = String::new();
            // Providers quote keys in their refusals.
            let quoting = json!({ "error": { "type": "authentication_error", "message": format!("Incorrect API key provided: {KEY}"), "code": KEY } });
            h.model.push([fails(401, quoting.clone()), says("fine"), fails(400, json!(format!("plain {KEY} text")))]);
            let chat = api.create_chat("hello").await;
            let chat = chat["id"].as_str().unwrap();
            let mut stream = api.stream(chat, None).await;
            said += &stream.until("the error", |f| f.is("error") && f.error.is_some()).await.error.clone().unwrap().to_string();
            api.send(chat, "again").await;
            stream.settled().await;
            api.send(chat, "and again").await;
            said += &stream.until("the error", |f| f.is("error") && f.error.is_some()).await.error.clone().unwrap().to_string();
            let query = format!("/api/v2/users/me?coder_session_token=canary-in-query&x={}", "y");
            Api::new(daemon.url(), None).get(&query).await.problem(401);
            for path in [
                format!("/chats/{chat}"), format!("/chats/{chat}/messages"), "/chats".into(), "/chats/models".into(),
                "/chats/model-configs".into(), "/chats/providers".into(), "//metrics".into(), "//openapi.json".into(),
                "/api/v2/buildinfo".into(), "/api/v2/users/me".into(),
            ] {
                said += &String::from_utf8_lossy(&api.get(&path).await.body);
            }
            said += &daemon.command(&["config", "show", "--origin"]).await.out;
            assert!(!said.contains(KEY), "a key in an answer: …{}", &said[said.find(KEY).unwrap().saturating_sub(300)..]);
            assert!(!said.contains(daemon_secret(&daemon)), "a token in an answer");
            daemon.stop().await;
        }
    }
}

/// The secret half of the first token; a text that occurs nowhere when this daemon has none.
fn daemon_secret(daemon: &crate::support::daemon::DaemonProcess) -> &'static str {
    let path = daemon.data_dir().join("token");
    let text = std::fs::read_to_string(path).unwrap_or_else(|_| "x-there is no such text".to_owned());
    let secret = text.trim().split_once('-').expect("an id and a secret").1.to_owned();
    String::leak(secret)
}
