//! Housekeeping: idle chat actors, heartbeats of the dead, old idempotency keys, forgotten uploads.

use super::{Shared, debug, registry::Chats, supervise};
use crate::{clock::Timestamp, store};
use actix::{Actor, AsyncContext, Context, WrapFuture, fut::ActorFutureExt};
use futures_util::future::LocalBoxFuture;
use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

/// Heartbeat rows older than so many leases are of nobody.
const DEAD_LEASES: u32 = 10;
/// How long an `Idempotency-Key` answers with the stored result: a day outlives any client's retries.
const REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);
/// How often keys are forgotten: each time looks at all of them.
const FORGET: Duration = Duration::from_secs(60 * 60);

/// One sweep through the database.
pub(super) type Sweep = Box<dyn Fn() -> LocalBoxFuture<'static, store::Result<()>>>;

/// How long an upload waits for a message that names it: as long as archived chats are kept
/// (api.md §2.13, `retention-days`).
const UPLOADS: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Uploads removed in one transaction: at most 10 MiB each, so that no other write waits long.
const UPLOADS_AT_ONCE: i64 = 20;
/// Debug runs ended or removed in one transaction.
const DEBUG_AT_ONCE: i64 = 50;

/// The loop.
pub struct Janitor {
    interval: Duration,
    chats: Chats,
    sweep: Sweep,
    busy: bool,
}

impl Janitor {
    /// A loop that has not started yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>, chats: Chats) -> Self {
        let interval = shared.settings.janitor_interval;
        let forget_at = Rc::new(Cell::new(shared.clock.now()));
        let round =
            move || -> LocalBoxFuture<'static, _> { Box::pin(sweep(shared.clone(), forget_at.clone())) };
        Self::with(interval, chats, Box::new(round))
    }

    /// The same with another sweep.
    pub(super) const fn with(interval: Duration, chats: Chats, sweep: Sweep) -> Self {
        Self { interval, chats, sweep, busy: false }
    }

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        self.chats.reap();
        if self.busy {
            return;
        }
        self.busy = true;
        let work = supervise::round("housekeeping", (self.sweep)()).into_actor(self);
        ctx.spawn(work.map(|_, act, _| act.busy = false));
    }
}

/// `forget_at`: when idempotency keys are forgotten next.
async fn sweep(shared: Arc<Shared>, forget_at: Rc<Cell<Timestamp>>) -> store::Result<()> {
    let (store, now) = (&shared.store, shared.clock.now());
    let silence = shared.settings.lease * DEAD_LEASES;
    store.sweep_beats(now - silence).await?;
    if shared.replicas.is_some() {
        store.sweep_replicas(silence, now).await?;
    }
    // Looked for even where nothing is recorded any more: what was recorded earlier goes as well.
    store.sweep_stale_debug(now - debug::STALE, DEBUG_AT_ONCE, now).await?;
    if let Some(keep) = shared.debug.retention() {
        store.sweep_old_debug(now - keep, DEBUG_AT_ONCE).await?;
    }
    store.sweep_files(now - UPLOADS, UPLOADS_AT_ONCE).await?;
    if now >= forget_at.get() {
        store.sweep_idempotency(now - REMEMBER).await?;
        forget_at.set(now + FORGET);
    }
    Ok(())
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.interval, Self::sweep);
    }
}
