//! For load balancers, containers and Prometheus. None of them signs in.

use super::{
    body, openapi,
    problem::{Problem, Result},
    state::ApiState,
};
use crate::metrics;
use actix_web::{HttpResponse, http::header, web};
use serde_json::json;

/// The process answers.
pub async fn alive() -> HttpResponse {
    body::ok(&json!({ "message": "alive" }))
}

/// The database answers and this replica is not about to stop. Migrations are done before it
/// listens.
pub async fn ready(state: web::Data<ApiState>) -> Result<HttpResponse> {
    if state.is_draining() {
        return Err(Problem::unavailable("This replica is shutting down.", "draining"));
    }
    state.store.ping().await.map_err(|e| Problem::unavailable("The database does not answer.", e))?;
    Ok(body::ok(&json!({ "message": "ready" })))
}

/// Figures in Prometheus' text format.
pub async fn metrics(state: web::Data<ApiState>) -> Result<HttpResponse> {
    let handle = state.metrics.as_ref().ok_or_else(Problem::unknown_route)?;
    ::metrics::counter!(metrics::STORE_STATEMENTS_TOTAL).absolute(state.store.statements());
    // 0.0.4 is the version of the text format (prometheus.io/docs/instrumenting/exposition_formats).
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(handle.render()))
}

/// The description of this API.
pub async fn openapi() -> HttpResponse {
    body::ok(&openapi::document())
}
