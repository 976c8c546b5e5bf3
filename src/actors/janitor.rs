//! Housekeeping: idle chat actors, heartbeats of the dead, old idempotency keys.

use super::{Shared, registry::Chats};
use crate::{clock::Timestamp, store::Error};
use actix::{Actor, AsyncContext, Context, WrapFuture, fut::ActorFutureExt};
use std::{sync::Arc, time::Duration};

/// Heartbeat rows older than so many leases are of nobody.
const DEAD_LEASES: u32 = 10;
/// How long an `Idempotency-Key` answers with the stored result: a day outlives any client's retries.
const REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);
/// How often keys are forgotten: each time looks at all of them.
const FORGET: Duration = Duration::from_secs(60 * 60);

/// The loop.
pub struct Janitor {
    shared: Arc<Shared>,
    chats: Chats,
    busy: bool,
    /// When keys are forgotten next.
    forget_at: Timestamp,
}

impl Janitor {
    /// A loop that has not started yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>, chats: Chats) -> Self {
        let forget_at = shared.clock.now();
        Self { shared, chats, busy: false, forget_at }
    }

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        self.chats.reap();
        if self.busy {
            return;
        }
        self.busy = true;
        let store = self.shared.store.clone();
        let now = self.shared.clock.now();
        let silence = self.shared.settings.lease * DEAD_LEASES;
        let forget = now >= self.forget_at;
        if forget {
            self.forget_at = now + FORGET;
        }
        let many = self.shared.replicas.is_some();
        let work = async move {
            store.sweep_beats(now - silence).await?;
            if many {
                store.sweep_replicas(silence, now).await?;
            }
            if forget {
                store.sweep_idempotency(now - REMEMBER).await?;
            }
            Ok::<_, Error>(())
        }
        .into_actor(self)
        .map(move |result, act, _| {
            act.busy = false;
            if let Err(e) = result {
                act.forget_at = now;
                tracing::warn!(error = %e, "housekeeping failed; the next sweep tries again");
            }
        });
        ctx.spawn(work);
    }
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.shared.settings.janitor_interval, Self::sweep);
    }
}
