//! The exact success codes (api.md §5.2): a client turns any other into an error, even another 2xx.

use super::{
    panel,
    walk::{Walk, text},
    walk_chats::{ASK, Chats, HOLD, debug_runs},
    walk_platform as platform, walk_settings as settings,
};
use crate::support::{
    both,
    fake_model::{Gate, says},
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const PREFIXES: [&str; 2] = ["/api/experimental/chats", "/api/v2/chats"];

both! {
    async fn every_call_succeeds_with_its_code(h: Harness) {
        let gate = Arc::new(Mutex::new(Gate::new()));
        let held = Arc::clone(&gate);
        h.model.otherwise(move |request| match request.last_user() {
            HOLD => says("Working").gate(&held.lock().expect("no panic")),
            ASK if request.tool_results().is_empty() => says("Let me ask. ").calls("ask_client", json!({ "what": "name" })),
            _ => says("An answer."),
        });
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (mut walk, organization) = (Walk::new(&daemon), api.organization().await);
        let log = h.log.tail();
        let link = log.rsplit_once("/login/once?token=").expect("a link for the first user").1;
        let link: String = link.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
        platform::people(&mut walk, &link).await;
        platform::models(&mut walk).await;
        platform::tools(&mut walk).await;
        platform::workspaces(&mut walk, &api).await;
        let in_workspace = panel::chat_with_agent(&daemon, &api).await.0;
        for prefix in PREFIXES {
            walk.socket(&format!("{prefix}/{{chat}}/stream/git"), &[&in_workspace], None).await;
        }
        panel::end_agent(&api, &in_workspace).await;
        platform::deployment(&mut walk).await;
        let reader = platform::user(&mut walk, "reader").await;
        let groups = "/api/v2/organizations/{organization}/groups";
        let group = walk.call("POST", groups, &[&organization], json!({ "name": "readers" }), 201).await.id();
        let configs = walk.call("GET", "/api/experimental/chats/model-configs", &[], Value::Null, 200).await.body;
        let model = text(&configs[0]["id"]);
        settings::experimental(&mut walk).await;
        for (prefix, root) in PREFIXES.into_iter().zip(["/api/experimental", "/api/v2"]) {
            settings::settings_below(&mut walk, prefix, &model).await;
            settings::money_below(&mut walk, prefix, &reader, &group).await;
            let own = Gate::new();
            *gate.lock().expect("no panic") = own.clone();
            let chats = Chats { h: &h, daemon: &daemon, api: api.under(root), prefix, organization: &organization, reader: &reader };
            chats.walk(&mut walk, &own).await;
        }
        debug_runs(&mut walk, &api).await;
        let (left, unknown) = walk.differences(&api).await;
        assert!(unknown.is_empty(), "not in the document: {unknown:#?}");
        // No agent has a desktop: the one call that cannot succeed yet (see `panel`).
        let desktop = "/api/experimental/chats/{chat}/stream/desktop";
        assert_eq!(left, [("GET".to_owned(), desktop.to_owned())], "not called");
    }
}
