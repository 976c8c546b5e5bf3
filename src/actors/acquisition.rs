//! The claim loop. Wakes on a timer and on hints, takes no input, and looks at the whole truth each
//! time: what is ours to take is a query.

use super::{Shared, registry::Chats, supervise};
use crate::store::ClaimSpec;
use actix::{Actor, AsyncContext, Context, Handler, Message, WrapFuture, fut::ActorFutureExt};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Look for chats to take. Carries nothing on purpose.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake;

/// Tell me when no claim is under way any more: the process stops, and what was claimed last has been
/// handed to its actor then.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Quiet(pub oneshot::Sender<()>);

/// Claims runnable chats and hands them to their actors.
pub struct Acquisition {
    shared: Arc<Shared>,
    chats: Chats,
    /// A claim is under way.
    busy: bool,
    /// Somebody asked again meanwhile.
    again: bool,
    /// Those who wait for the end of the claim that is under way.
    waiting: Vec<oneshot::Sender<()>>,
    /// When the first of the claims began that found no database; `None` when the last one found it.
    away_since: Option<Instant>,
    /// Nothing is claimed before.
    rest_until: Option<Instant>,
}

impl Acquisition {
    /// A loop that has not started yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>, chats: Chats) -> Self {
        Self {
            shared,
            chats,
            busy: false,
            again: false,
            waiting: Vec::new(),
            away_since: None,
            rest_until: None,
        }
    }

    /// How much longer leases are to be believed. A database that was away may bring back some that have
    /// ended while their owners live: nobody could renew one.
    fn trust(&self) -> Duration {
        let s = &self.shared.settings;
        let away = self.away_since.map_or(Duration::ZERO, |since| since.elapsed());
        s.lease.saturating_sub(s.heartbeat_interval).saturating_sub(away)
    }

    fn claim(&mut self, ctx: &mut Context<Self>) {
        if *self.shared.draining.borrow() {
            return;
        }
        if self.busy {
            self.again = true;
            return;
        }
        let begun = Instant::now();
        if self.rest_until.is_some_and(|until| begun < until) {
            return;
        }
        self.busy = true;
        let trust = self.trust();
        let s = &self.shared.settings;
        let spec = ClaimSpec {
            worker: self.shared.worker,
            limit: s.max_chats_per_acquire,
            lease: s.lease,
            max_running_chats: s.max_running_chats,
            max_running_subagents: s.max_running_subagents,
            now: self.shared.clock.now(),
            patience: trust,
        };
        let (store, looks) = (self.shared.store.clone(), trust.is_zero());
        let work = async move {
            if looks { store.ping().await.map(|()| Vec::new()) } else { store.claim(spec).await }
        };
        let work = supervise::round("claiming chats", work).into_actor(self).map(move |claimed, act, ctx| {
            act.busy = false;
            act.away_since = match &claimed {
                Some(_) => None,
                None => Some(act.away_since.unwrap_or(begun)),
            };
            if looks && claimed.is_some() {
                // It is back. First everybody who lives renews their leases.
                let s = &act.shared.settings;
                act.rest_until = Some(Instant::now() + s.heartbeat_interval + s.acquire_interval);
            }
            let claimed = claimed.unwrap_or_default();
            let full = i64::try_from(claimed.len()).is_ok_and(|n| n == spec.limit);
            for c in claimed {
                tracing::debug!(chat = %c.head.id, takeover = c.takeover, "claimed");
                act.chats.own(c.head, None, false);
            }
            act.again |= full;
            // Dropping a sender tells its receiver as well.
            act.waiting.clear();
            if std::mem::take(&mut act.again) {
                act.claim(ctx);
            }
        });
        ctx.spawn(work);
    }
}

impl Actor for Acquisition {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.shared.settings.acquire_interval, Self::claim);
        self.claim(ctx);
    }
}

impl Handler<Wake> for Acquisition {
    type Result = ();
    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        self.claim(ctx);
    }
}

impl Handler<Quiet> for Acquisition {
    type Result = ();
    fn handle(&mut self, Quiet(waiting): Quiet, _: &mut Self::Context) {
        if self.busy {
            self.waiting.push(waiting);
        }
    }
}
