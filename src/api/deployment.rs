//! What clients ask about the deployment itself (api.md §2.17).

use super::{
    auth::Caller,
    body,
    doc::{Doc, Reply},
    problem::Result,
    state::ApiState,
};
use actix_web::{HttpResponse, web};
use serde_json::json;

/// What the OpenAPI document says of it.
pub const BUILD_INFO: Doc = Doc::new("Version and address").answers(Reply::Object).open();

/// Version and address. Needs no session: clients ask before they sign in.
pub async fn build_info(state: web::Data<ApiState>) -> HttpResponse {
    let url = &state.settings.public_url;
    body::ok(&json!({
        "external_url": url,
        "version": concat!("v", env!("CARGO_PKG_VERSION")),
        "dashboard_url": url,
        "telemetry": false,
        "workspace_proxy": false,
        "agent_api_version": "",
        "provisioner_api_version": "",
        "upgrade_message": "",
        "deployment_id": state.settings.deployment_id,
    }))
}

/// What the OpenAPI document says of it.
pub const ENTITLEMENTS: Doc = Doc::new("Licensed features").answers(Reply::Object);

/// There is nothing to license: no feature is limited, none is withheld.
pub async fn entitlements(state: web::Data<ApiState>, _: Caller) -> Result<HttpResponse> {
    Ok(body::ok(&json!({
        "features": {},
        "warnings": [],
        "errors": [],
        "has_license": false,
        "trial": false,
        "require_telemetry": false,
        "refreshed_at": state.clock.now(),
    })))
}

/// What the OpenAPI document says of it.
pub const EXPERIMENTS: Doc = Doc::new("Enabled experiments").replies::<Vec<String>>();

/// The flag under which early clients look for chats (api.md §1.1), which are always there.
pub async fn experiments(_: Caller) -> Result<HttpResponse> {
    Ok(body::ok(&["agents"]))
}
