//! `GET /chats/{chat}/stream` (api.md §4.1, §4.6).

use super::{
    access::{self, Right},
    auth::Caller,
    doc::{Doc, Param, ParamKind},
    problem::Result,
    query::Query,
    sockets::{self, Next, Source},
    state::ApiState,
};
use crate::{
    actors::subscription::{CloseReason, Outgoing, Subscription},
    ids::ChatId,
    stream::{frame, schema::StreamEvent},
};
use actix_web::{HttpRequest, HttpResponse, rt, web};

struct Reader {
    chat: ChatId,
    subscription: Subscription,
    /// The session failed and the client was told so.
    failed: bool,
}

impl Source for Reader {
    async fn next(&mut self) -> Next {
        if self.failed {
            return CloseReason::Unavailable.into();
        }
        match self.subscription.outgoing.recv().await {
            Some(Outgoing::Frame(text)) => Next::Frame(text),
            Some(Outgoing::Close(CloseReason::Unavailable)) | None => {
                self.failed = true;
                Next::Frame(frame::failure(self.chat))
            }
            Some(Outgoing::Close(reason)) => reason.into(),
        }
    }
}

/// What the OpenAPI document says of it.
pub const STREAM: Doc = Doc::new("Stream a chat (WebSocket)")
    .frames::<Vec<StreamEvent>>()
    .params(&[Param::query(
        "after_id",
        ParamKind::Integer(0, i64::MAX),
        "The first synchronisation leaves out messages up to this id",
    )])
    .errors(&[400, 404]);

/// Streams a chat.
pub async fn stream(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let query = Query::parse(request.query_string())?;
    let after_id = query.number("after_id", 0.., "a whole number that is not negative")?;
    let chat = access::chat(&state, &caller, &path, Right::Read).await?;
    let (id, is_owner) = (chat.head.id, chat.owner_id == caller.user.id);
    let (response, mut socket) = sockets::open(&request, payload, state.clone(), caller)?;
    if !is_owner {
        socket.only_while_readable(id);
    }
    let subscription = state.streams.subscribe(id, after_id);
    // A socket lives on the worker that answered its handshake.
    rt::spawn(async move {
        let reader = Reader { chat: id, subscription, failed: false };
        if is_owner {
            mark_read(&state, id).await;
        }
        socket.run(reader).await;
        if is_owner {
            mark_read(&state, id).await;
        }
    });
    Ok(response)
}

/// Moves the owner's read cursor. Whether a chat looks unread is worth no more than a line in the
/// log.
async fn mark_read(state: &ApiState, chat: ChatId) {
    if let Err(e) = state.store.mark_read(chat).await {
        tracing::warn!(%chat, error = %e, "the read cursor could not be moved");
    }
}
