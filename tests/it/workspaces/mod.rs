//! Workspaces: templates, builds, what they print, who may do what with them.

mod agents;
mod builds;
mod records;

use crate::support::{client::Api, outside::eventually};
use serde_json::{Value, json};

/// The id of a template by its name.
async fn template(api: &Api, name: &str) -> Value {
    let all = api.get("/api/v2/templates").await.json(200);
    let found = all.as_array().expect("an array").iter().find(|t| t["name"] == name);
    found.unwrap_or_else(|| panic!("no template {name}: {all}"))["id"].clone()
}

/// Makes a workspace.
pub async fn create(api: &Api, name: &str, template_name: &str) -> Value {
    let template_id = template(api, template_name).await;
    api.post("/api/v2/workspaces", json!({ "name": name, "template_id": template_id })).await.json(201)
}

/// The path of what an answer describes.
fn path(workspace: &Value) -> String {
    format!("/api/v2/workspaces/{}", workspace["id"].as_str().expect("an id"))
}

/// Waits for a status of a workspace.
pub async fn has_status(api: &Api, workspace: &Value, status: &str) -> Value {
    let path = path(workspace);
    eventually(status, async || {
        let now = api.get(&path).await.json(200);
        (now["status"] == status).then_some(now)
    })
    .await
}

/// Asks for a build.
async fn build(api: &Api, workspace: &Value, transition: &str) -> Value {
    api.post(&format!("{}/builds", path(workspace)), json!({ "transition": transition })).await.json(201)
}

/// What a build printed.
async fn printed(api: &Api, build: &Value) -> Vec<(String, String)> {
    let id = build["id"].as_str().expect("an id");
    let lines = api.get(&format!("/api/v2/workspacebuilds/{id}/logs")).await.json(200);
    let text = |line: &Value, key: &str| line[key].as_str().expect("a text").to_owned();
    lines.as_array().expect("an array").iter().map(|l| (text(l, "source"), text(l, "output"))).collect()
}
