//! Workspaces: templates, builds, what they print, who may do what with them.

mod agents;
mod builds;
mod records;

use crate::support::{Engine, Harness, client::Api, daemon::DaemonProcess, outside::eventually};
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

/// Has the store fail whenever a build of this workspace is asked for.
async fn refuse_builds(h: &Harness, daemon: &DaemonProcess, workspace: &Value) {
    let id = h.uuid(workspace["id"].as_str().expect("an id"));
    let refuse = match h.engine {
        Engine::Sqlite => format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON workspace_builds WHEN NEW.workspace_id = {id} \
             BEGIN SELECT RAISE(ABORT, 'as a test'); END"
        ),
        Engine::Postgres => format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN IF NEW.workspace_id = {id} THEN RAISE EXCEPTION 'as a test'; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON workspace_builds FOR EACH ROW EXECUTE FUNCTION refuse()"
        ),
    };
    h.execute(daemon, &refuse).await;
}

/// Has it work again.
async fn allow_builds(h: &Harness, daemon: &DaemonProcess) {
    let allow = match h.engine {
        Engine::Sqlite => "DROP TRIGGER refuse",
        Engine::Postgres => "DROP TRIGGER refuse ON workspace_builds",
    };
    h.execute(daemon, allow).await;
}
