//! Renews the leases of every owned chat, on an arbiter of its own and, on PostgreSQL, over a connection of
//! its own, so that no work can starve it.

use super::Shared;
use actix::{Actor, AsyncContext, Context, WrapFuture, fut::ActorFutureExt};
use std::sync::Arc;

/// The loop.
pub struct Heartbeat {
    shared: Arc<Shared>,
    busy: bool,
}

impl Heartbeat {
    /// A loop that has not started yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, busy: false }
    }

    fn beat(&mut self, ctx: &mut Context<Self>) {
        let owned = self.shared.owned.all();
        if self.busy || owned.is_empty() {
            return;
        }
        self.busy = true;
        let (store, worker, now) = (self.shared.store.clone(), self.shared.worker, self.shared.clock.now());
        let work =
            async move { store.beat(worker, owned, now).await }.into_actor(self).map(|result, act, _| {
                act.busy = false;
                if let Err(e) = result {
                    tracing::warn!(error = %e, "could not renew the leases; the next beat tries again");
                }
            });
        ctx.spawn(work);
    }
}

impl Actor for Heartbeat {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.shared.settings.heartbeat_interval, Self::beat);
    }
}
