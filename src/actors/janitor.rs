//! Housekeeping: idle chat actors, heartbeats of the dead, old idempotency keys, forgotten uploads.

use super::{Shared, registry::Chats};
use actix::{Actor, AsyncContext, Context, WrapFuture, fut::ActorFutureExt};
use std::{sync::Arc, time::Duration};

/// Heartbeat rows older than so many leases are of nobody.
const DEAD_LEASES: u32 = 10;
/// How long an `Idempotency-Key` answers with the stored result: a day outlives any client's retries.
const REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an upload waits for a message that names it: as long as archived chats are kept
/// (api.md §2.13, `retention-days`).
const UPLOADS: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Uploads removed in one transaction: at most 10 MiB each, so that no other write waits long.
const UPLOADS_AT_ONCE: i64 = 20;

/// The loop.
pub struct Janitor {
    shared: Arc<Shared>,
    chats: Chats,
    busy: bool,
}

impl Janitor {
    /// A loop that has not started yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>, chats: Chats) -> Self {
        Self { shared, chats, busy: false }
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
        let many = self.shared.replicas.is_some();
        let work = async move {
            store.sweep_beats(now - silence).await?;
            if many {
                store.sweep_replicas(silence, now).await?;
            }
            store.sweep_files(now - UPLOADS, UPLOADS_AT_ONCE).await?;
            store.sweep_idempotency(now - REMEMBER).await
        }
        .into_actor(self)
        .map(|result, act, _| {
            act.busy = false;
            if let Err(e) = result {
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
