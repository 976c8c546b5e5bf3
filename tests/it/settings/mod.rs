//! `/chats/config/*` (api.md §2.13) and what it changes.

mod models;
mod prompts;
mod replicas;
mod retention;
mod table;
mod users;

use crate::support::{Harness, client::Api};
use serde_json::Value;

/// Declares, beside the default model, another one and one that is switched off.
fn three_models(h: &Harness) {
    let model = |name: &str, more: &str| {
        format!(
            "[[models]]\nname = \"{name}\"\nprovider = \"fake\"\nmodel = \"{name}-model\"\n\
             context_limit = 1000\nmax_output_tokens = 100\n{more}\n"
        )
    };
    h.configure(
        &[model("fake", "default = true"), model("other", ""), model("off", "enabled = false")].concat(),
    );
}

/// Id of a declared model.
async fn model_id(api: &Api, name: &str) -> String {
    let all = api.get("/chats/model-configs").await.json(200);
    let found = all.as_array().expect("a list").iter().find(|m| m["model"] == format!("{name}-model"));
    found.and_then(|m| m["id"].as_str()).unwrap_or_else(|| panic!("no model {name}: {all}")).to_owned()
}

fn at(path: &str) -> String {
    format!("/chats/config/{path}")
}

async fn set(api: &Api, path: &str, body: Value) {
    api.put(&at(path), body).await.empty(204);
}
