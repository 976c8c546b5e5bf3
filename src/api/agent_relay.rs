//! `POST /api/v2/workspaceagents/{agent}/relay`: a request to an agent whose link is here, passed on for the replica
//! that drives the chat.

use super::{
    body,
    doc::{Doc, Param, Reply},
    parts::Reader,
    problem::{Problem, Result},
    query::path_id,
    state::ApiState,
};
use crate::{
    ids::AgentId,
    workspace::{
        elsewhere::{ANSWERED, LINK, LOST, NOT_SENT, TARGET},
        link::LinkError,
        wire::{self, BASE},
    },
};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, http::StatusCode, web};
use futures_util::TryStreamExt as _;
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Method, header};

/// Headers that say for whom and for which call a request is made.
const PASSED: [&str; 6] = [
    wire::CHAT_ID,
    wire::ANCESTOR_CHAT_IDS,
    wire::FORMER_CHAT_ID,
    wire::FORMER_ANCESTOR_CHAT_IDS,
    wire::TOOL_CALL_ID,
    wire::REPEATED,
];

/// What the OpenAPI document says of it.
pub const RELAY: Doc =
    Doc::new("Pass a request on to an agent whose link this replica holds; for replicas only")
        .takes_bytes(&["application/octet-stream"])
        .answers(Reply::Media(&["application/octet-stream", "application/json"]))
        .params(&[Param::header("x-chatd-relay-target", "Method, a space, path and query of the request")
            .required()])
        .errors(&[400, 403, 413]);

/// Passes a request on.
pub async fn relay(
    request: HttpRequest,
    state: web::Data<ApiState>,
    reader: Reader,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    if !reader.is_replica() {
        return Err(Problem::forbidden("Only replicas of this deployment may do this."));
    }
    let agent: AgentId = path_id(&path, "agent")?;
    let target = request.headers().get(TARGET).and_then(|value| value.to_str().ok());
    let target = target.and_then(|text| text.split_once(' ')).filter(|(_, path)| path.starts_with(BASE));
    let parsed = target.and_then(|(method, path)| Some((method.parse::<Method>().ok()?, path)));
    let (method, path) = parsed.ok_or_else(|| {
        Problem::bad_request("The request names no target.")
            .detail(format!("It stands in the header {TARGET}."))
    })?;
    let mut headers = HeaderMap::new();
    for name in PASSED {
        if let Some(value) = request.headers().get(name)
            && let Ok(value) = header::HeaderValue::from_bytes(value.as_bytes())
        {
            headers.insert(name, value);
        }
    }
    let bytes = body::read(&request, payload, wire::MAX_BODY).await?;
    let Some(client) = state.dialer.links.client(agent) else {
        return Ok(lost(NOT_SENT, "its link is not here"));
    };
    let answer = match client.request(method, path, headers, bytes).await {
        Ok(answer) => answer,
        Err(e @ LinkError::NotSent) => return Ok(lost(NOT_SENT, &e.to_string())),
        Err(e) => return Ok(lost(LOST, &e.to_string())),
    };
    let status = StatusCode::from_u16(answer.status().as_u16()).map_err(Problem::internal)?;
    let mut response = HttpResponse::build(status);
    response.insert_header((LINK, ANSWERED));
    if let Some(kind) = answer.headers().get(header::CONTENT_TYPE) {
        response.insert_header((actix_web::http::header::CONTENT_TYPE, kind.as_bytes()));
    }
    if let Some(version) = answer.headers().get(wire::TOOLS_VERSION) {
        response.insert_header((wire::TOOLS_VERSION, version.as_bytes()));
    }
    Ok(response.streaming(answer.into_body().into_data_stream().map_err(actix_web::error::ErrorBadGateway)))
}

/// Not the agent's answer.
fn lost(how: &'static str, why: &str) -> HttpResponse {
    // Whoever asks tries again soon, for half a minute, and tells what comes of it.
    tracing::debug!(how, why, "a request could not be passed on");
    let mut response =
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The agent did not answer.").error_response();
    response.headers_mut().insert(
        actix_web::http::header::HeaderName::from_static(LINK),
        actix_web::http::header::HeaderValue::from_static(how),
    );
    response
}
