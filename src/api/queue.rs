//! `/chats/{chat}/queue/{queuedMessage}` (api.md §2.7).

use super::{
    access::{self, Right},
    auth::Caller,
    commit::{self, Key},
    doc::{Doc, IDEMPOTENCY_KEY, Message},
    messages::positive,
    problem::Result,
    state::ApiState,
};
use crate::{
    chat::{command::Command, json::Json},
    ids::QueuedId,
    store::commit::Commit,
};
use actix_web::{HttpRequest, HttpResponse, web};

/// What the OpenAPI document says of it.
pub const DELETE: Doc = Doc::new("Take a message out of the queue").errors(&[400, 404, 409]);

/// Takes a message out of the queue.
pub async fn delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    let (chat, id) = path.into_inner();
    let chat = access::only_id(&state, &caller, &chat, Right::Update).await?;
    let id = QueuedId(positive(&id, "queued message")?);
    let commit = Commit::new(chat, Command::DeleteQueuedMessage(id), state.clock.now());
    commit::run(&state, commit, None, |_| (204, commit::nothing())).await
}

/// What the OpenAPI document says of it.
pub const PROMOTE: Doc = Doc::new("Make a queued message the next one")
    .replies::<Message>()
    .params(&[IDEMPOTENCY_KEY])
    .errors(&[400, 403, 404, 409]);

/// Makes a queued message the next one.
pub async fn promote(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    let (chat, id) = path.into_inner();
    let chat = access::only_id(&state, &caller, &chat, Right::Own).await?;
    let id = QueuedId(positive(&id, "queued message")?);
    let key = Key::of(&request, &caller, b"")?;
    let commit = Commit::new(chat, Command::PromoteQueuedMessage(id), state.clock.now());
    commit::run(&state, commit, key, |_| {
        (202, Json::of(&serde_json::json!({ "message": "The queued message is next." })))
    })
    .await
}
