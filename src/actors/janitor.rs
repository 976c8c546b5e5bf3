//! Housekeeping: idle chat actors, heartbeats of the dead, old idempotency keys, forgotten uploads, idle
//! and long archived chats.

use super::{Shared, debug, registry::Chats, retention, supervise};
use crate::{clock::Timestamp, store};
use actix::{Actor, AsyncContext, Context, WrapFuture, fut::ActorFutureExt};
use futures_util::future::LocalBoxFuture;
use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

/// Heartbeat rows older than so many leases are of nobody.
const DEAD_LEASES: u32 = 10;
/// How long an `Idempotency-Key` answers with the stored result: a day outlives any client's retries.
const REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);
/// How often idle chats are archived (agent-loop.md §20) and keys forgotten: each time looks at all of
/// them.
const EACH_HOUR: Duration = Duration::from_secs(60 * 60);

/// One sweep through the database.
pub(super) type Sweep = Box<dyn Fn() -> LocalBoxFuture<'static, store::Result<()>>>;

/// Uploads removed in one transaction: at most 10 MiB each, so that no other write waits long.
const UPLOADS_AT_ONCE: i64 = 20;
/// Debug runs ended or removed in one transaction.
const DEBUG_AT_ONCE: i64 = 50;

/// How long an expired token is still listed, so that its owner can see why it does not work.
const SHOW_ENDED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

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
        let hourly = Rc::new(Hourly::starting(shared.clock.now()));
        let round = move || -> LocalBoxFuture<'static, _> { Box::pin(sweep(shared.clone(), hourly.clone())) };
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

/// What is done once an hour, and at once after the start.
struct Hourly {
    forget_at: Cell<Timestamp>,
    archive_at: Cell<Timestamp>,
    /// The setting that the last run went by: a new one is followed at once.
    archive_days: Cell<i64>,
}

impl Hourly {
    const fn starting(now: Timestamp) -> Self {
        Self { forget_at: Cell::new(now), archive_at: Cell::new(now), archive_days: Cell::new(0) }
    }
}

async fn sweep(shared: Arc<Shared>, hourly: Rc<Hourly>) -> store::Result<()> {
    let (store, now) = (&shared.store, shared.clock.now());
    let silence = shared.settings.lease * DEAD_LEASES;
    store.sweep_beats(now - silence).await?;
    if shared.replicas.is_some() {
        store.sweep_replicas(silence, now).await?;
    }
    let live = shared.live.current();
    // Looked for even where nothing is recorded any more: what was recorded earlier goes as well.
    store.sweep_stale_debug(now - debug::STALE, DEBUG_AT_ONCE, now).await?;
    if let Some(before) = retention::days_before(now, live.debug_retention.debug_retention_days) {
        store.sweep_old_debug(before, DEBUG_AT_ONCE).await?;
    }
    if let Some(before) = retention::days_before(now, live.retention.retention_days) {
        // An upload waits for a message that names it as long as archived chats are kept.
        store.sweep_files(before, UPLOADS_AT_ONCE).await?;
        retention::delete_expired(&shared, before).await?;
    }
    if now >= hourly.forget_at.get() {
        store.sweep_idempotency(now - REMEMBER).await?;
        store.sweep_credentials(now - SHOW_ENDED).await?;
        hourly.forget_at.set(now + EACH_HOUR);
    }
    let days = live.auto_archive.auto_archive_days;
    let due = now >= hourly.archive_at.get() || days != hourly.archive_days.get();
    if shared.settings.worker_enabled && due {
        retention::archive_idle(&shared, days).await?;
        hourly.archive_at.set(now + EACH_HOUR);
        hourly.archive_days.set(days);
    }
    Ok(())
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.interval, Self::sweep);
    }
}
