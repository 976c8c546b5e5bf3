//! Renews the leases of every owned chat and this replica's own entry, on an arbiter of its own; the
//! leases, on PostgreSQL, over a connection of their own, so that no work can starve them. The workspaces of owned chats are in
//! use as long as their turns last, whatever these are doing (workspace-and-providers.md §2.5).

use super::{Shared, supervise};
use crate::ids::{ChatId, RunnerId};
use actix::{Actor, AsyncContext, Context, Handler, Message, WrapFuture, fut::ActorFutureExt};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Renew nothing any more, and tell me when what is under way has ended: this process signs off, and a
/// beat that arrives after that would enter it again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Cease(pub oneshot::Sender<()>);

/// The loop.
pub struct Heartbeat {
    shared: Arc<Shared>,
    busy: bool,
    /// Beside the leases, which must not wait for it.
    bumping: bool,
    ceased: bool,
    /// Who waits for the end of the beat that is under way.
    waiting: Option<oneshot::Sender<()>>,
}

impl Heartbeat {
    /// A loop that has not started yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, busy: false, bumping: false, ceased: false, waiting: None }
    }

    fn beat(&mut self, ctx: &mut Context<Self>) {
        if self.ceased {
            return;
        }
        let owned = self.shared.owned.all();
        self.bump(ctx, &owned);
        let entry = self.shared.replicas.as_ref().map(|r| r.relay_url().to_owned());
        if self.busy || (owned.is_empty() && entry.is_none()) {
            return;
        }
        self.busy = true;
        let (store, worker, now) = (self.shared.store.clone(), self.shared.worker, self.shared.clock.now());
        let work = async move {
            if !owned.is_empty() {
                store.beat(worker, owned, now).await?;
            }
            match entry {
                Some(relay_url) => store.beat_replica(worker, relay_url, now).await,
                None => Ok(()),
            }
        };
        let work = supervise::round("renewing the leases", work).into_actor(self);
        ctx.spawn(work.map(|_, act, _| {
            act.busy = false;
            // Dropping a sender tells its receiver as well.
            act.waiting = None;
        }));
    }

    /// Puts the end of the workspaces of these chats off.
    fn bump(&mut self, ctx: &mut Context<Self>, owned: &[(ChatId, RunnerId)]) {
        if self.bumping || owned.is_empty() {
            return;
        }
        self.bumping = true;
        let chats = owned.iter().map(|(chat, _)| *chat).collect();
        let (store, now) = (self.shared.store.clone(), self.shared.clock.now());
        let work = async move {
            for workspace in store.workspaces_of_chats(chats).await? {
                store.bump_workspace(workspace, now).await?;
            }
            Ok(())
        };
        let work = supervise::round("putting the ends of workspaces off", work).into_actor(self);
        ctx.spawn(work.map(|_, act, _| act.bumping = false));
    }
}

impl Actor for Heartbeat {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.shared.settings.heartbeat_interval, Self::beat);
    }
}

impl Handler<Cease> for Heartbeat {
    type Result = ();
    fn handle(&mut self, Cease(waiting): Cease, _: &mut Self::Context) {
        self.ceased = true;
        self.waiting = self.busy.then_some(waiting);
    }
}
