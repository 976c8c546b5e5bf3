//! A request id, a log span and two metrics for every request. Query strings are never logged: they
//! may hold a session token.

use crate::{ids::fresh_uuid, metrics};
use actix_web::{
    Error, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{HeaderName, HeaderValue},
    },
    middleware::Next,
};
use std::time::Instant;
use tracing::Instrument as _;

/// Name of the header that carries the id, in both directions.
const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken over from a client.
const MAX_ID_BYTES: usize = 64;

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The id of the request that is being answered.
#[must_use]
pub fn request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// Wraps every request.
///
/// # Errors
/// Those of the wrapped service.
pub async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let id = taken_over(request.request()).unwrap_or_else(|| fresh_uuid().to_string());
    let method = method(request.method());
    let span = tracing::info_span!("request", id, method, path = request.path());
    let started = Instant::now();
    let answer = REQUEST_ID.scope(id.clone(), next.call(request)).instrument(span.clone()).await;
    let mut answer = answer?;
    let status = answer.status().as_u16();
    let route = answer.request().match_pattern().unwrap_or_else(|| "unknown".into());
    let took = started.elapsed();
    ::metrics::counter!(metrics::HTTP_REQUESTS_TOTAL, "method" => method, "route" => route.clone(), "status" => status.to_string())
        .increment(1);
    ::metrics::histogram!(metrics::HTTP_REQUEST_SECONDS, "method" => method, "route" => route)
        .record(took.as_secs_f64());
    span.in_scope(|| tracing::debug!(status, ms = took.as_secs_f64() * 1e3, "answered"));
    // Only characters that a header can hold were let in.
    if let Ok(value) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert(HEADER, value);
    }
    Ok(answer)
}

fn taken_over(request: &HttpRequest) -> Option<String> {
    let id = request.headers().get(HEADER)?.to_str().ok()?;
    let good = (1..=MAX_ID_BYTES).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    good.then(|| id.to_owned())
}

/// A bounded set of names, whatever clients send.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
