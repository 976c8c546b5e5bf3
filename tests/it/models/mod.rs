//! Providers, models and keys: made through the API, declared in the file, used by turns.

mod canary;
mod configs;
mod declared;
mod keys;
mod providers;
mod replicas;
mod turns;

use crate::support::{Harness, client::Api, daemon::DaemonProcess};
use serde_json::{Value, json};

/// Makes a provider of the v2 family that speaks Chat Completions with the fake model.
async fn provider(h: &Harness, api: &Api, name: &str, keys: &[&str]) -> Value {
    let body = json!({ "type": "openai-compat", "name": name, "enabled": true,
        "base_url": format!("{}/v1", h.model.url()), "api_keys": keys });
    api.post("/api/v2/ai/providers", body).await.json(201)
}

/// Makes a model of a provider.
async fn model(api: &Api, provider: &Value, name: &str) -> Value {
    let body = json!({ "ai_provider_id": provider["id"], "model": name, "context_limit": 100_000 });
    api.post("/chats/model-configs", body).await.json(201)
}

/// A plain user beside the administrator.
async fn somebody(daemon: &DaemonProcess, name: &str) -> Api {
    daemon.api_as(&daemon.token_for(name, &[]).await)
}

/// A chat with this model.
async fn chat_with(api: &Api, model: &Value, text: &str) -> String {
    let body = json!({ "content": [{ "type": "text", "text": text }], "model_config_id": model["id"] });
    crate::support::turns::id(&api.create_chat_with(body).await)
}
