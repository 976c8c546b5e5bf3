//! The safety net under lost hints: one query for the versions of every chat that lives here.

use super::{Shared, registry::Chats, supervise};
use actix::{Actor, AsyncContext, Context, WrapFuture, fut::ActorFutureExt};
use std::sync::Arc;

/// The loop.
pub struct Poller {
    shared: Arc<Shared>,
    chats: Chats,
    busy: bool,
}

impl Poller {
    /// A loop that has not started yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>, chats: Chats) -> Self {
        Self { shared, chats, busy: false }
    }

    fn poll(&mut self, ctx: &mut Context<Self>) {
        let ids = self.chats.ids();
        if self.busy || ids.is_empty() {
            return;
        }
        self.busy = true;
        let store = self.shared.store.clone();
        let work = async move { store.snapshots(ids).await };
        let work = supervise::round("polling the chats", work).into_actor(self).map(|found, act, _| {
            act.busy = false;
            for (chat, snapshot) in found.unwrap_or_default() {
                act.chats.polled(chat, snapshot);
            }
        });
        ctx.spawn(work);
    }
}

impl Actor for Poller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.shared.settings.sync_interval, Self::poll);
    }
}
