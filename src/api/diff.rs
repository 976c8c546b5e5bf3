//! `GET /chats/{chat}/diff` (api.md §2.9).

use super::{
    access::{self, Right},
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    state::ApiState,
};
use crate::ids::ChatId;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

/// The changes of a chat to code; its id alone when nothing is tracked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChatDiff)]
pub struct DiffOut {
    chat_id: ChatId,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_request_url: Option<String>,
    /// Unified diff text.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
}

/// What the OpenAPI document says of it.
pub const GET: Doc = Doc::new("The changes of a chat to code").replies::<DiffOut>().errors(&[400, 404]);

/// The changes of a chat.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat_id = access::only_id(&state, &caller, &path, Right::Read).await?;
    let at = state.store.diff_reference(chat_id).await.map_err(Problem::of_chat)?;
    Ok(body::ok(&DiffOut {
        chat_id,
        provider: at.provider,
        remote_origin: at.remote_origin,
        branch: at.branch,
        pull_request_url: at.pull_request_url,
        diff: at.diff,
    }))
}
