//! Interrupt, reconcile, compact, clear (api.md §2.7): bodyless calls that answer with the chat.

use super::{
    access::{self, Right},
    auth::Caller,
    chat_out::ChatOut,
    chats,
    commit::{self, Key},
    doc::{Doc, IDEMPOTENCY_KEY},
    problem::{Problem, Result},
    state::ApiState,
};
use crate::{
    chat::{answers, command::Command, json::Json, state::State},
    ids::fresh_uuid,
    store::{commit::Commit, records::ChatRecord},
    turn::compact,
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

/// What the OpenAPI document says of it.
pub const INTERRUPT: Doc = Doc::new("Stop the turn")
    .replies::<ChatOut<'static>>()
    .params(&[IDEMPOTENCY_KEY])
    .errors(&[400, 404, 409]);

/// Stops the turn.
pub async fn interrupt(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat = access::chat(&state, &caller, &path, Right::Update).await?;
    let key = Key::of(&request, &caller, b"")?;
    run(&state, &caller, chat, Command::Interrupt { reason: answers::INTERRUPTED.into() }, key).await
}

/// What the OpenAPI document says of it.
pub const RECONCILE: Doc = Doc::new("Recover a chat from an inconsistent state")
    .replies::<ChatOut<'static>>()
    .params(&[IDEMPOTENCY_KEY])
    .errors(&[400, 404, 409]);

/// Leads out of an invalid state.
pub async fn reconcile(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat = access::chat(&state, &caller, &path, Right::Update).await?;
    let key = Key::of(&request, &caller, b"")?;
    let found = found(&state, &chat).await?;
    let error = json!({
        "message": "The chat was recovered from an inconsistent state.",
        "detail": format!("It was found {found}."),
        "kind": "generic",
        "retryable": false,
    });
    run(&state, &caller, chat, Command::ReconcileInvalidState { error: Json::of(&error) }, key).await
}

/// What the OpenAPI document says of it.
pub const COMPACT: Doc = Doc::new("Compact the history")
    .replies::<ChatOut<'static>>()
    .params(&[IDEMPOTENCY_KEY])
    .errors(&[400, 403, 404, 409]);

/// Asks for a compaction of the history.
pub async fn compact(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat = access::chat(&state, &caller, &path, Right::Own).await?;
    let key = Key::of(&request, &caller, b"")?;
    if !state.store.compactable(chat.head.id).await.map_err(Problem::of_chat)?
        && matches!(found(&state, &chat).await?, State::W | State::E0 | State::E1)
    {
        // The success of an earlier try may be why.
        return commit::unless_done(&state, key, Problem::conflict("There is nothing to compact.")).await;
    }
    // In any other state that is the reason to refuse.
    run(&state, &caller, chat, Command::RequestCompaction, key).await
}

/// The state a chat was read in, for an explanation: what is done is decided by the commit.
async fn found(state: &ApiState, chat: &ChatRecord) -> Result<State> {
    let queued = !state.store.queue(chat.head.id).await.map_err(Problem::of_chat)?.is_empty();
    Ok(State::classify(chat.head.status, queued, chat.head.archived))
}

/// What the OpenAPI document says of it.
pub const CLEAR: Doc = Doc::new("Hide the history from the model")
    .replies::<ChatOut<'static>>()
    .params(&[IDEMPOTENCY_KEY])
    .errors(&[400, 403, 404, 409]);

/// Hides the history so far from the model.
pub async fn clear(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat = access::chat(&state, &caller, &path, Right::Own).await?;
    let key = Key::of(&request, &caller, b"")?;
    let rows = compact::cleared_rows(fresh_uuid(), Some(caller.user.id), state.clock.now());
    run(&state, &caller, chat, Command::ClearContext { rows }, key).await
}

/// Commits and answers with the chat: what was read before, with the columns the commit left.
async fn run(
    state: &ApiState,
    caller: &Caller,
    chat: ChatRecord,
    command: Command,
    key: Option<Key>,
) -> Result<HttpResponse> {
    let owner = chats::owner(state, caller, &chat).await?;
    let shared = state.settings.sharing && state.store.is_shared(chat.root_chat_id).await?;
    let now = state.clock.now();
    let commit = Commit::new(chat.head.id, command, now);
    commit::run(state, commit, key, move |done| {
        let after = ChatRecord { head: done.head.clone(), updated_at: now, ..chat.clone() };
        (200, Json::of(&ChatOut::new(&after).of_owner(&owner).with_shared(shared)))
    })
    .await
}
