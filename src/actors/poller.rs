//! The safety net under lost hints: one query for the versions of every chat that lives here.

use super::{Shared, registry::Chats, supervise};
use crate::ids::ChatId;
use actix::{Actor, AsyncContext, Context, WrapFuture, fut::ActorFutureExt};
use std::{collections::HashSet, sync::Arc};

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
        let asked = ids.clone();
        let work = async move { store.snapshots(asked).await };
        let work = supervise::round("polling the chats", work).into_actor(self).map(move |found, act, _| {
            act.busy = false;
            let Some(found) = found else { return };
            let mut gone: HashSet<ChatId> = ids.into_iter().collect();
            for (chat, snapshot) in found {
                gone.remove(&chat);
                act.chats.polled(chat, snapshot);
            }
            // Retention deletes without a word.
            for chat in gone {
                act.chats.poll(chat);
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
