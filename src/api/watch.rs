//! `GET /chats/watch` (api.md §4.8): one bare JSON object a frame, or an event.

use super::{
    auth::Caller,
    chat_out::ChatOut,
    doc::Doc,
    events,
    notices::Sidebar,
    problem::Result,
    sockets::{self, Next, Source},
    state::ApiState,
};
use crate::{
    bus::WatchKind,
    store::{self, records::UserRecord},
    stream::wire::PendingCallOut,
};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use bytestring::ByteString;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::broadcast;
use utoipa::ToSchema;

/// An event of the sidebar (api.md §3.11).
#[derive(Serialize, ToSchema)]
#[schema(as = WatchEvent)]
pub struct WatchOut<'a> {
    kind: WatchKind,
    chat: ChatOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<&'a [PendingCallOut]>,
}

struct Changes {
    receiver: broadcast::Receiver<Sidebar>,
    /// Taken from the receiver and not yet sent: reading its chat may be cut short and begin anew.
    current: Option<Sidebar>,
    state: web::Data<ApiState>,
    owner: Arc<UserRecord>,
}

/// What the OpenAPI document says of it.
pub const WATCH: Doc =
    Doc::new("Follow the caller's chats (WebSocket; with `Accept: text/event-stream` as server-sent events)")
        .frames::<WatchOut<'static>>()
        .or_events()
        .errors(&[400]);

/// Follows the caller's chats.
pub async fn watch(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let owner = Arc::clone(&caller.user);
    // Before the handshake is answered: "open watch, then list" misses nothing.
    let receiver = state.notices.sidebar(owner.id);
    let source = Changes { receiver, current: None, state: state.clone(), owner };
    if events::wanted(&request) {
        let (response, stream) = events::open(state, caller, None)?;
        rt::spawn(stream.run(source));
        return Ok(response);
    }
    let (response, socket) = sockets::open(&request, payload, state, caller)?;
    rt::spawn(socket.run(source));
    Ok(response)
}

impl Source for Changes {
    async fn next(&mut self) -> Next {
        loop {
            let event = match self.current {
                Some(event) => event,
                None => match self.receiver.recv().await {
                    Ok(event) => *self.current.insert(event),
                    // Nothing can be replayed: the client reconnects and lists.
                    Err(_) => return Next::End(1001, "Events were lost, reconnect"),
                },
            };
            let frame = self.frame(event).await;
            self.current = None;
            match frame {
                Ok(Some(frame)) => return Next::Frame(frame),
                Ok(None) => {}
                Err(e) => {
                    tracing::warn!(chat = %event.chat, error = %e, "a sidebar event could not be read");
                    return Next::End(1011, "Storage unavailable, reconnect");
                }
            }
        }
    }
}

impl Changes {
    /// The event with the chat as it is now; `None` when there is nothing left to tell.
    async fn frame(&self, event: Sidebar) -> store::Result<Option<ByteString>> {
        let chat = match self.state.store.chat(event.chat).await {
            Ok(chat) => chat,
            Err(store::Error::NotFound) => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut calls = None;
        if event.kind == WatchKind::ActionRequired {
            let pending = self.state.store.pending_calls(event.chat).await?;
            if pending.is_empty() {
                // They were answered before anybody could be told.
                return Ok(None);
            }
            calls = Some(pending.iter().map(PendingCallOut::from).collect::<Vec<_>>());
        }
        let diff = match event.kind {
            WatchKind::DiffStatusChange => Some(self.state.store.diff_status(event.chat).await?),
            _ => None,
        };
        let shared = self.state.settings.sharing && self.state.store.is_shared(chat.root_chat_id).await?;
        let mut out = ChatOut::new(&chat).of_owner(&self.owner).with_shared(shared);
        if let Some(diff) = &diff {
            out = out.with_diff(diff.as_ref());
        }
        let event = WatchOut { kind: event.kind, chat: out, tool_calls: calls.as_deref() };
        Ok(Some(crate::chat::json::Json::of(&event).get().into()))
    }
}
