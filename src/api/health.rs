//! For load balancers, containers and Prometheus. None of them signs in.

use super::{
    body,
    doc::{Doc, Message, Reply},
    openapi,
    problem::{Problem, Result},
    state::{ApiState, Scrape},
};
use actix_web::{HttpResponse, http::header, web};
use serde_json::json;

/// What the OpenAPI document says of it.
pub const ALIVE: Doc = Doc::new("The process answers").replies::<Message>().open();

/// The process answers.
pub async fn alive() -> HttpResponse {
    body::ok(&json!({ "message": "alive" }))
}

/// What the OpenAPI document says of it.
pub const READY: Doc = Doc::new("The server can take requests").replies::<Message>().open();

/// The database answers and this replica is not about to stop. Migrations are done before it
/// listens.
pub async fn ready(state: web::Data<ApiState>) -> Result<HttpResponse> {
    if state.is_draining() {
        return Err(Problem::unavailable("This replica is shutting down.", "draining"));
    }
    state.store.ping().await.map_err(|e| Problem::unavailable("The database does not answer.", e))?;
    Ok(body::ok(&json!({ "message": "ready" })))
}

/// What the OpenAPI document says of it.
pub const METRICS: Doc =
    Doc::new("Figures for Prometheus").answers(Reply::Media(&["text/plain"])).errors(&[404]).open();

/// Figures in Prometheus' text format.
pub async fn metrics(state: web::Data<ApiState>) -> Result<HttpResponse> {
    Ok(figures(state.metrics.as_ref().ok_or_else(Problem::unknown_route)?))
}

/// The same on the listener of `metrics.listen`.
pub async fn own_metrics(scrape: web::Data<Scrape>) -> HttpResponse {
    figures(&scrape)
}

fn figures(scrape: &Scrape) -> HttpResponse {
    // 0.0.4 is the version of the text format (prometheus.io/docs/instrumenting/exposition_formats).
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(scrape())
}

/// What the OpenAPI document says of it.
pub const OPENAPI: Doc = Doc::new("This document").answers(Reply::Object).open();

/// The description of this API.
pub async fn openapi() -> HttpResponse {
    body::ok(&openapi::document())
}
