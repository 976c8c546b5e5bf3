//! The walk through what is not below a chat prefix alone: people, keys, models, tool servers, skills,
//! workspaces, the deployment.

use super::walk::{Walk, text};
use crate::{
    mcp_records::{authority::Authority, server},
    support::{client::Api, outside::eventually},
};
use serde_json::{Value, json};

const USERS: &str = "/api/v2/users";
const PASSWORD: &str = "correct horse battery";

/// Makes a user and returns the id.
pub async fn user(walk: &mut Walk, name: &str) -> String {
    let body = json!({ "username": name, "email": format!("{name}@example.test"), "password": PASSWORD });
    walk.call("POST", USERS, &[], body, 201).await.id()
}

/// Users, their sessions and tokens; `link` is the token of the first sign-in.
pub async fn people(walk: &mut Walk, link: &str) {
    walk.call("GET", &format!("/login/once?token={link}"), &[], Value::Null, 303).await;
    let eve = user(walk, "eve").await;
    let one = "/api/v2/users/{user}";
    walk.call("GET", USERS, &[], Value::Null, 200).await;
    walk.call("GET", one, &["me"], Value::Null, 200).await;
    for method in ["PUT", "PATCH"] {
        let body = json!({ "username": "eve", "name": "Eve" });
        walk.call(method, "/api/v2/users/{user}/profile", &["eve"], body, 200).await;
    }
    let password = "another horse battery";
    walk.call("PUT", "/api/v2/users/{user}/password", &["eve"], json!({ "password": password }), 204).await;
    walk.call("PUT", "/api/v2/users/{user}/roles", &["eve"], json!({ "roles": ["member"] }), 200).await;
    walk.call("GET", "/api/v2/users/{user}/organizations", &["me"], Value::Null, 200).await;
    let tokens = "/api/v2/users/{user}/keys/tokens";
    let made = walk.call("POST", tokens, &["me"], json!({ "name": "laptop" }), 201).await.id();
    walk.call("GET", tokens, &["me"], Value::Null, 200).await;
    walk.call("DELETE", "/api/v2/users/{user}/keys/{key}", &["me", &made], Value::Null, 204).await;
    let body = json!({ "email": "eve@example.test", "password": password });
    let session = text(&walk.call("POST", "/api/v2/users/login", &[], body, 201).await.body["session_token"]);
    let own = std::mem::replace(&mut walk.token, session);
    walk.call("POST", "/api/v2/users/logout", &[], json!({}), 200).await;
    walk.token = own;
    walk.call("PUT", "/api/v2/users/{user}/status/suspend", &["eve"], json!({}), 200).await;
    walk.call("PUT", "/api/v2/users/{user}/status/activate", &["eve"], json!({}), 200).await;
    let question = json!({ "checks": { "may": { "object": { "resource_type": "chat", "owner_id": "me" }, "action": "create" } } });
    let said = walk.call("POST", "/api/v2/authcheck", &[], question, 200).await.body;
    assert_eq!(said, json!({ "may": true }));
    organizations(walk, &eve).await;
    walk.call("DELETE", one, &["eve"], Value::Null, 204).await;
}

async fn organizations(walk: &mut Walk, user: &str) {
    let all = "/api/v2/organizations";
    let one = "/api/v2/organizations/{organization}";
    let lab = walk.call("POST", all, &[], json!({ "name": "lab" }), 201).await.id();
    walk.call("GET", all, &[], Value::Null, 200).await;
    walk.call("GET", one, &[&lab], Value::Null, 200).await;
    walk.call("PATCH", one, &[&lab], json!({ "display_name": "The lab" }), 200).await;
    let members = format!("{one}/members");
    let member = format!("{members}/{{user}}");
    walk.call("POST", &member, &[&lab, user], json!({}), 201).await;
    walk.call("GET", &members, &[&lab], Value::Null, 200).await;
    walk.call("PUT", &format!("{member}/roles"), &[&lab, user], json!({ "roles": ["agents-access"] }), 200)
        .await;
    let groups = format!("{one}/groups");
    let group = format!("{groups}/{{group}}");
    let team = walk.call("POST", &groups, &[&lab], json!({ "name": "team" }), 201).await.id();
    walk.call("GET", &groups, &[&lab], Value::Null, 200).await;
    walk.call("GET", &group, &[&lab, &team], Value::Null, 200).await;
    walk.call("PATCH", &group, &[&lab, &team], json!({ "display_name": "The team" }), 200).await;
    let of_group = format!("{group}/members/{{user}}");
    walk.call("PUT", &of_group, &[&lab, &team, user], json!({}), 204).await;
    walk.call("GET", &format!("{group}/members"), &[&lab, &team], Value::Null, 200).await;
    walk.call("DELETE", &of_group, &[&lab, &team, user], Value::Null, 204).await;
    walk.call("DELETE", &group, &[&lab, &team], Value::Null, 204).await;
    walk.call("DELETE", &member, &[&lab, user], Value::Null, 204).await;
    walk.call("DELETE", one, &[&lab], Value::Null, 204).await;
}

/// Providers in both forms, users' keys in both forms, and models.
pub async fn models(walk: &mut Walk) {
    let providers = "/api/v2/ai/providers";
    let provider = "/api/v2/ai/providers/{provider}";
    let body = json!({ "type": "openai-compat", "name": "extra", "base_url": "http://127.0.0.1:9/v1", "api_keys": ["sk-nothing-at-all"] });
    let extra = walk.call("POST", providers, &[], body, 201).await.id();
    walk.call("GET", providers, &[], Value::Null, 200).await;
    walk.call("GET", provider, &[&extra], Value::Null, 200).await;
    walk.call("PATCH", provider, &[&extra], json!({ "display_name": "Extra" }), 200).await;
    let key = json!({ "api_key": "sk-mine-0123456789" });
    let keys = "/api/v2/users/{user}/ai-provider-keys";
    let one_key = format!("{keys}/{{provider}}");
    walk.call("PUT", &one_key, &["me", &extra], key.clone(), 200).await;
    walk.call("GET", keys, &["me"], Value::Null, 200).await;
    walk.call("DELETE", &one_key, &["me", &extra], Value::Null, 204).await;
    let legacy = "/api/experimental/chats/user-provider-configs";
    let one_legacy = "/api/experimental/chats/user-provider-configs/{provider}";
    walk.call("PUT", one_legacy, &[&extra], key, 200).await;
    walk.call("GET", legacy, &[], Value::Null, 200).await;
    walk.call("DELETE", one_legacy, &[&extra], Value::Null, 204).await;
    let configs = "/api/experimental/chats/model-configs";
    let config = "/api/experimental/chats/model-configs/{model}";
    let body =
        json!({ "provider": "openai-compat", "ai_provider_id": extra, "model": "m", "context_limit": 8000 });
    let model = walk.call("POST", configs, &[], body, 201).await.id();
    walk.call("GET", configs, &[], Value::Null, 200).await;
    walk.call("GET", "/api/experimental/chats/models", &[], Value::Null, 200).await;
    walk.call("PATCH", config, &[&model], json!({ "display_name": "M" }), 200).await;
    walk.call("DELETE", config, &[&model], Value::Null, 204).await;
    walk.call("DELETE", provider, &[&extra], Value::Null, 204).await;
    let old = "/api/experimental/chats/providers";
    let one_old = "/api/experimental/chats/providers/{provider}";
    let body = json!({ "provider": "openai", "api_key": "sk-ours-0123456789", "display_name": "Ours" });
    let ours = walk.call("POST", old, &[], body, 201).await.id();
    walk.call("GET", old, &[], Value::Null, 200).await;
    walk.call("PATCH", one_old, &[&ours], json!({ "display_name": "Theirs" }), 200).await;
    walk.call("DELETE", one_old, &[&ours], Value::Null, 204).await;
}

/// Tool servers, to which a user is connected as a browser would do it, and skills.
pub async fn tools(walk: &mut Walk) {
    let at = Authority::start().await;
    let all = "/api/experimental/mcp/servers";
    let one = "/api/experimental/mcp/servers/{mcpServer}";
    let body = server("guarded", json!({ "auth_type": "oauth2", "url": format!("{}/mcp", at.url) }));
    let made = walk.call("POST", all, &[], body, 201).await.id();
    walk.call("GET", all, &[], Value::Null, 200).await;
    walk.call("GET", one, &[&made], Value::Null, 200).await;
    walk.call("PATCH", one, &[&made], json!({ "display_name": "Guarded" }), 200).await;
    let sent = walk.call("GET", &format!("{one}/oauth2/connect"), &[&made], Value::Null, 307).await;
    let location = sent.headers["location"].to_str().expect("text");
    let location = reqwest::Url::parse(location).expect("a URL");
    let (_, state) = location.query_pairs().find(|(key, _)| key == "state").expect("a state");
    let cookies = sent.headers.get_all("set-cookie").iter().map(|c| c.to_str().expect("text"));
    let cookies: Vec<_> = cookies.map(|c| c.split(';').next().unwrap_or_default()).collect();
    let back = format!("{one}/oauth2/callback?code=c&state={state}");
    let request = walk.request("GET", &back, &[&made]).header("cookie", cookies.join("; "));
    walk.send("GET", &back, request, 200).await;
    walk.call("DELETE", &format!("{one}/oauth2/disconnect"), &[&made], Value::Null, 204).await;
    walk.call("DELETE", one, &[&made], Value::Null, 204).await;
    let skills = "/api/experimental/users/{user}/skills";
    let skill = "/api/experimental/users/{user}/skills/{name}";
    let body = json!({ "content": "---\nname: notes\ndescription: Takes notes\n---\nWrite it down.\n" });
    walk.call("POST", skills, &["me"], body.clone(), 201).await;
    walk.call("GET", skills, &["me"], Value::Null, 200).await;
    walk.call("GET", skill, &["me", "notes"], Value::Null, 200).await;
    walk.call("PATCH", skill, &["me", "notes"], body, 200).await;
    walk.call("DELETE", skill, &["me", "notes"], Value::Null, 204).await;
}

/// Templates, a workspace whose agent links, and its builds.
pub async fn workspaces(walk: &mut Walk, api: &Api) {
    let (templates, template) = ("/api/v2/templates", "/api/v2/templates/{template}");
    let made =
        walk.call("POST", templates, &[], json!({ "name": "theirs", "kind": "external" }), 201).await.id();
    walk.call("GET", templates, &[], Value::Null, 200).await;
    walk.call("GET", template, &[&made], Value::Null, 200).await;
    walk.call("PATCH", template, &[&made], json!({ "display_name": "Theirs" }), 200).await;
    let (all, one) = ("/api/v2/workspaces", "/api/v2/workspaces/{workspace}");
    let workspace =
        walk.call("POST", all, &[], json!({ "name": "dev", "template_id": made }), 201).await.id();
    walk.call("GET", all, &[], Value::Null, 200).await;
    walk.call("PATCH", one, &[&workspace], json!({ "name": "work" }), 200).await;
    let path = format!("{all}/{workspace}");
    let running = async |status: &str| {
        eventually(status, async || {
            let now = api.get(&path).await.json(200);
            (now["status"] == status).then_some(now)
        })
        .await
    };
    let agent = text(&running("running").await["agents"][0]["id"]);
    walk.call("GET", one, &[&workspace], Value::Null, 200).await;
    let token = "/api/v2/workspaceagents/{agent}/token";
    let token = text(&walk.call("POST", token, &[&agent], json!({}), 201).await.body["token"]);
    walk.socket("/api/v2/workspaceagents/me/link", &[], Some(&token)).await;
    let builds = format!("{one}/builds");
    let build = walk.call("POST", &builds, &[&workspace], json!({ "transition": "stop" }), 201).await.id();
    running("stopped").await;
    walk.call("GET", &builds, &[&workspace], Value::Null, 200).await;
    let one_build = "/api/v2/workspacebuilds/{build}";
    walk.call("GET", one_build, &[&build], Value::Null, 200).await;
    walk.call("GET", &format!("{one_build}/logs"), &[&build], Value::Null, 200).await;
    walk.socket(&format!("{one_build}/logs/follow"), &[&build], None).await;
    let unused =
        walk.call("POST", templates, &[], json!({ "name": "spare", "kind": "external" }), 201).await.id();
    walk.call("DELETE", template, &[&unused], Value::Null, 204).await;
}

/// What anybody may ask of the deployment.
pub async fn deployment(walk: &mut Walk) {
    for path in [
        "/api/v2/buildinfo",
        "/api/v2/entitlements",
        "/api/v2/experiments",
        "/healthz",
        "/readyz",
        "/metrics",
        "/docs",
        "/openapi.json",
    ] {
        walk.call("GET", path, &[], Value::Null, 200).await;
    }
}
