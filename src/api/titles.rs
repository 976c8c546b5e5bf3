//! `/chats/{chat}/title/*` (api.md §2.8): a model names a chat when its owner asks for it.

use super::{
    access::{self, Right},
    auth::Caller,
    body,
    chat_out::ChatOut,
    doc::Doc,
    problem::{Problem, Result},
    state::{ApiState, TitleFailure},
};
use crate::{
    bus::WatchKind,
    ids::fresh_uuid,
    store::records::{ChatRecord, TitleLock},
    turn::title::manual,
};
use actix_web::{HttpResponse, http::StatusCode, rt, web};
use serde::Serialize;
use std::time::Duration;
use tokio::{sync::oneshot, time::timeout};
use utoipa::ToSchema;

/// How long the lock's release may take (agent-loop.md §14.3); later it is stale anyway.
const RELEASE: Duration = Duration::from_secs(5);

/// A title that is not stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProposedTitle)]
pub struct Proposed {
    title: String,
}

/// What the OpenAPI document says of it.
pub const REGENERATE: Doc = Doc::new("Have a model name a chat anew")
    .replies::<ChatOut<'static>>()
    .errors(&[400, 403, 404, 409, 500, 504]);

/// Names a chat anew.
pub async fn regenerate(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat = access::chat(&state, &caller, &path, Right::Own).await?;
    let id = chat.head.id;
    run(&state, chat, true).await?;
    let chat = state.store.family(id).await.map_err(Problem::of_chat)?;
    Ok(body::ok(&ChatOut::family(&chat, &caller.user).unless_off(state.settings.sharing)))
}

/// What the OpenAPI document says of it.
pub const PROPOSE: Doc = Doc::new("Have a model propose a title, and store nothing")
    .replies::<Proposed>()
    .errors(&[400, 403, 404, 409, 500, 504]);

/// Proposes a title; the one it has when nothing was said yet.
pub async fn propose(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat = access::chat(&state, &caller, &path, Right::Own).await?;
    let own = chat.title.clone();
    let title = run(&state, chat, false).await?.unwrap_or(own);
    Ok(body::ok(&Proposed { title }))
}

/// Makes a title under the chat's lock, which is given back whatever becomes of the request.
async fn run(state: &web::Data<ApiState>, chat: ChatRecord, keep: bool) -> Result<Option<String>> {
    state.store.check_spend(chat.head.id, state.clock.now()).await.map_err(Problem::of_chat)?;
    // Ends with this future: the client that asked is gone.
    let (_here, gone) = oneshot::channel::<()>();
    let state = state.clone();
    let task = rt::spawn(async move {
        let lock = TitleLock { chat: chat.head.id, holder: fresh_uuid() };
        if !state.store.lock_title(lock, state.clock.now()).await.map_err(Problem::of_chat)? {
            return Err(Problem::conflict("A title of this chat is being made already.")
                .detail("Wait for it, or try again in a minute."));
        }
        let made = tokio::select! {
            made = make(&state, &chat, keep) => made,
            _ = gone => Err(client_gone()),
        };
        match timeout(RELEASE, state.store.unlock_title(lock)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => {
                tracing::warn!(chat = %lock.chat, error = %e, "the lock of a title is left to its end");
            }
            Err(_) => tracing::warn!(chat = %lock.chat, "the lock of a title is left to its end"),
        }
        made
    });
    task.await.map_err(Problem::internal)?
}

async fn make(state: &ApiState, chat: &ChatRecord, keep: bool) -> Result<Option<String>> {
    let rows = state.store.title_material(chat.head.id).await.map_err(Problem::of_chat)?;
    let Some(question) = manual::question(&rows) else { return Ok(None) };
    let title = state.titles.propose(chat, &rows, &question).await.map_err(|e| refused(chat, &e))?;
    if keep && title != chat.title {
        let stored = state.store.retitle(chat.head.id, chat.title.clone(), title.clone()).await?;
        if stored {
            state.store.watch(chat.owner_id, chat.head.id, WatchKind::TitleChange);
        }
    }
    Ok(Some(title))
}

/// Nobody reads it; it is what the log and the metrics say of the request.
fn client_gone() -> Problem {
    let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
    Problem::new(status, "The client closed the request.")
}

fn refused(chat: &ChatRecord, why: &TitleFailure) -> Problem {
    tracing::info!(chat = %chat.head.id, error = %why, "no title was made");
    match why {
        TitleFailure::NoModel(text) => Problem::bad_request("No model can make a title.").detail(text),
        TitleFailure::Late => Problem::new(StatusCode::GATEWAY_TIMEOUT, "The model took too long.")
            .detail("The chat keeps its title. Try again."),
        TitleFailure::Failed(text) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The model made no title.").detail(text)
        }
    }
}
