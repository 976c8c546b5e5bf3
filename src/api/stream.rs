//! `GET /chats/{chat}/stream` (api.md §4.1, §4.6): a WebSocket, or the same as server-sent events.

use super::{
    access::{self, Right},
    auth::Caller,
    doc::{Doc, Param, ParamKind},
    events,
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
pub const STREAM: Doc =
    Doc::new("Stream a chat (WebSocket; with `Accept: text/event-stream` as server-sent events)")
        .frames::<Vec<StreamEvent>>()
        .or_events()
        .params(&[
            Param::query(
                "after_id",
                ParamKind::Integer(0, i64::MAX),
                "The first synchronisation leaves out messages up to this id",
            ),
            Param::header("Last-Event-ID", "Id of the last event that a client of server-sent events has"),
        ])
        .errors(&[400, 404]);

/// Streams a chat.
pub async fn stream(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let chat = access::chat(&state, &caller, &path, Right::Read).await?;
    let query = Query::parse(request.query_string())?;
    let after_id = query.number("after_id", 0.., "a whole number that is not negative")?;
    let events = events::wanted(&request);
    let after_id = if events { events::last_event_id(&request)?.or(after_id) } else { after_id };
    // Ids begin with 1: who says 0 holds nothing, and there is nothing to take back from them.
    let after_id = after_id.filter(|id| *id > 0);
    let (id, is_owner) = (chat.head.id, chat.owner_id == caller.user.id);
    if events {
        let (response, mut stream) = events::open(state.clone(), caller, after_id)?;
        if !is_owner {
            stream.only_while_readable(id);
        }
        serve(state, id, is_owner, after_id, async |reader| stream.run(reader).await);
        return Ok(response);
    }
    let (response, mut socket) = sockets::open(&request, payload, state.clone(), caller)?;
    if !is_owner {
        socket.only_while_readable(id);
    }
    serve(state, id, is_owner, after_id, async |reader| socket.run(reader).await);
    Ok(response)
}

/// Streams in the background, on the worker that answered the request.
fn serve(
    state: web::Data<ApiState>,
    id: ChatId,
    is_owner: bool,
    after_id: Option<i64>,
    run: impl AsyncFnOnce(Reader) + 'static,
) {
    let subscription = state.streams.subscribe(id, after_id);
    rt::spawn(async move {
        let reader = Reader { chat: id, subscription, failed: false };
        if is_owner {
            mark_read(&state, id).await;
        }
        run(reader).await;
        if is_owner {
            mark_read(&state, id).await;
        }
    });
}

/// Moves the owner's read cursor. Whether a chat looks unread is worth no more than a line in the
/// log.
async fn mark_read(state: &ApiState, chat: ChatId) {
    if let Err(e) = state.store.mark_read(chat).await {
        tracing::warn!(%chat, error = %e, "the read cursor could not be moved");
    }
}
