//! One actor per live chat: the runner when this replica owns the chat, the episode buffer and the
//! subscribers. Handlers are short and total; the model, tools and the database are tasks that
//! report back by message. The connection to the workspace belongs to the runner and ends with it.

pub mod jobs;
pub mod relay;
mod runner;

use super::{
    Shared,
    registry::{Chats, Figures, Guard},
    sink::ChannelSink,
};
use crate::{
    chat::{
        duty::Snapshot,
        message::{Part, Role, Visibility},
        state::Status,
    },
    ids::ChatId,
    metrics,
    store::{
        self,
        commit::Committed,
        records::{Head, StreamRead},
    },
    stream::{
        episode::EpisodeKey,
        hub::{Hub, ReadResult, ReadSpec},
        subscriber::{CloseReason, SubscriberId},
    },
    workspace::mcp_tools::Kept,
};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, SpawnHandle};
use jobs::Outcome;
use relay::Relays;
use runner::Runner;
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// Wait before a failed database read is tried again.
const READ_RETRY: Duration = Duration::from_millis(250);
/// After so many failed reads in a row (about half a minute) the database counts as staying away.
const READS_UNTIL_UNAVAILABLE: u32 = 120;
/// How often slow readers are looked at.
const LAG_TICK: Duration = Duration::from_millis(200);

/// A claimed chat: drive it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Own {
    /// The chat, claimed.
    pub head: Head,
    /// The transition it was claimed with; `None`: the claim was a transition of its own.
    pub with: Option<Box<Committed>>,
    /// The attempt that the chat is at was recorded with the claim: it has still to begin.
    pub begun: bool,
}

/// The chat was seen in this state. A hint.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Seen(pub Snapshot);

/// The chat may have moved.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Poll;

/// The poller found the chat at this snapshot version.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Polled(pub i64);

/// Stop if nobody needs this actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reap;

/// The process shuts down: close the streams, let the task finish for so long, let the chat go.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain(pub Duration);

/// A new subscriber.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Subscribe {
    /// Names the subscription for [`Unsubscribe`].
    pub ticket: u64,
    /// The highest message id the reader has.
    pub after_id: Option<i64>,
    /// Its queue.
    pub sink: ChannelSink,
}

/// A subscriber left.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unsubscribe(pub u64);

/// An attempt is about to be recorded: buffer its parts from the first one on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct OpenEpisode(pub EpisodeKey);

/// Live parts that came together.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LiveParts {
    /// Their episode.
    pub key: EpisodeKey,
    /// In order, each with its role: assistant, or tool for results.
    pub parts: Vec<(Role, Part)>,
}

/// A task moved the chat and goes on (an attempt, a retry state).
#[derive(Message)]
#[rtype(result = "()")]
pub struct Moved(pub Committed);

/// A task ended.
#[derive(Message)]
#[rtype(result = "()")]
struct TaskEnded {
    task: u64,
    outcome: Result<Outcome, tokio::task::JoinError>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct ReadEnded {
    spec: ReadSpec,
    result: Result<(Head, Option<StreamRead>, Vec<StreamRead>), store::Error>,
}

/// The row was read for the runner's sake.
#[derive(Message)]
#[rtype(result = "()")]
struct Looked(Result<Head, store::Error>);

/// Stops an actor that has left the registry, behind everything sent before.
#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

/// The actor.
pub struct ChatActor {
    id: ChatId,
    shared: Arc<Shared>,
    registry: Chats,
    guard: Guard,
    figures: Arc<Figures>,
    hub: Hub<ChannelSink>,
    tickets: HashMap<u64, SubscriberId>,
    runner: Option<Runner>,
    /// The tools that the chat's workspace has listed: they outlive the runner.
    served: Kept,
    relays: Relays,
    next_task: u64,
    flush: Option<SpawnHandle>,
    last_flush: Option<Instant>,
    lag_tick: Option<SpawnHandle>,
    failed_reads: u32,
    reads_paused: bool,
    idle_since: Instant,
    draining: bool,
    /// The process stops, and tasks have no more time.
    grace_over: bool,
    retired: bool,
    seen_stats: crate::stream::hub::HubStats,
    seen_dropped: u64,
}

impl ChatActor {
    /// An actor that has not started yet.
    #[must_use]
    pub fn new(
        id: ChatId,
        shared: Arc<Shared>,
        guard: Guard,
        figures: Arc<Figures>,
        registry: Chats,
    ) -> Self {
        let hub = Hub::new(id, shared.settings.stream);
        Self {
            id,
            shared,
            registry,
            guard,
            figures,
            hub,
            tickets: HashMap::new(),
            runner: None,
            served: Kept::default(),
            relays: Relays::default(),
            next_task: 0,
            flush: None,
            last_flush: None,
            lag_tick: None,
            failed_reads: 0,
            reads_paused: false,
            idle_since: Instant::now(),
            draining: false,
            grace_over: false,
            retired: false,
            seen_stats: crate::stream::hub::HubStats::default(),
            seen_dropped: 0,
        }
    }

    /// What every handler ends with: reads that are due, parts to send, figures.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        if !self.reads_paused
            && let Some(spec) = self.hub.reads_needed()
        {
            self.read(spec, ctx);
        }
        if self.hub.has_pending() && self.flush.is_none() {
            self.schedule_flush(ctx);
        }
        if self.hub.has_lagging() && self.lag_tick.is_none() {
            self.lag_tick = Some(ctx.run_later(LAG_TICK, |act, ctx| {
                act.lag_tick = None;
                act.hub.tick(act.shared.clock.now());
                act.settle(ctx);
            }));
        }
        for (id, reason) in self.hub.take_departed() {
            self.tickets.retain(|_, s| *s != id);
            tracing::debug!(chat = %self.id, reason = reason.as_str(), "subscriber taken off");
        }
        self.follow_owner(ctx);
        self.publish_figures();
        if self.runner.is_some() || self.hub.subscribers() > 0 {
            self.idle_since = Instant::now();
        }
    }

    /// The first parts after a quiet moment go out at once; a burst is collected for a tick.
    fn schedule_flush(&mut self, ctx: &mut Context<Self>) {
        let tick = self.shared.settings.coalesce;
        let wait = self.last_flush.map_or(Duration::ZERO, |at| tick.saturating_sub(at.elapsed()));
        if wait.is_zero() {
            self.flush_now();
            return;
        }
        self.flush = Some(ctx.run_later(wait, |act, ctx| {
            act.flush = None;
            act.flush_now();
            act.settle(ctx);
        }));
    }

    fn flush_now(&mut self) {
        self.last_flush = Some(Instant::now());
        self.hub.flush(self.shared.clock.now());
    }

    fn read(&mut self, spec: ReadSpec, ctx: &mut Context<Self>) {
        let (store, id, addr) = (self.shared.store.clone(), self.id, ctx.address());
        actix::spawn(async move {
            let result = store.stream_read(id, spec.since, spec.joins.clone()).await;
            addr.do_send(ReadEnded { spec, result });
        });
    }

    /// Brings the subscribers to what a task of ours committed, without a read where possible.
    fn committed(&mut self, done: &Committed) {
        let head = &done.head;
        let queue_moved = head.versions.queue == head.versions.snapshot;
        // The pending calls and the new queue are not in the answer of the commit.
        if done.deleted || queue_moved || head.status == Status::RequiresAction {
            self.hub.notice(head.versions.snapshot);
            return;
        }
        let messages = done.inserted.iter().filter(|m| m.visibility != Visibility::Model).cloned().collect();
        let change = StreamRead {
            head: head.clone(),
            reset: false,
            messages,
            more: false,
            queue: None,
            pending: Vec::new(),
        };
        self.hub.committed(done.previous_snapshot, &change, self.shared.clock.now());
    }

    fn publish_figures(&mut self) {
        let episodes = self.hub.episodes();
        self.figures.subscribers.store(self.hub.subscribers(), Ordering::Relaxed);
        self.figures.buffer_events.store(episodes.parts(), Ordering::Relaxed);
        self.figures.buffer_bytes.store(episodes.bytes(), Ordering::Relaxed);
        let dropped = episodes.dropped();
        let stats = self.hub.stats();
        if stats.resyncs > self.seen_stats.resyncs {
            ::metrics::counter!(metrics::STREAM_RESYNCS_TOTAL)
                .increment(stats.resyncs - self.seen_stats.resyncs);
        }
        if stats.closed_slow > self.seen_stats.closed_slow {
            ::metrics::counter!(metrics::STREAM_SLOW_CLOSED_TOTAL)
                .increment(stats.closed_slow - self.seen_stats.closed_slow);
        }
        if dropped > self.seen_dropped {
            ::metrics::counter!(metrics::STREAM_BUFFER_DROPPED_TOTAL).increment(dropped - self.seen_dropped);
        }
        self.seen_dropped = dropped;
        self.seen_stats = stats;
    }

    fn retire(&mut self, ctx: &mut Context<Self>) {
        self.retired = true;
        self.relays.end();
        self.registry.retire(&self.guard);
        // Whatever was sent before the entry went is handled first.
        ctx.notify(Stop);
    }
}

impl Actor for ChatActor {
    type Context = Context<Self>;
}

impl Handler<Seen> for ChatActor {
    type Result = ();
    fn handle(&mut self, Seen(snapshot): Seen, ctx: &mut Self::Context) {
        self.note_owner(snapshot.versions.snapshot, snapshot.owner);
        self.hub.notice(snapshot.versions.snapshot);
        self.observe(snapshot, ctx);
        self.settle(ctx);
    }
}

impl Handler<Poll> for ChatActor {
    type Result = ();
    fn handle(&mut self, _: Poll, ctx: &mut Self::Context) {
        self.hub.poll();
        if self.runner.is_some() {
            self.look(ctx);
        }
        self.settle(ctx);
    }
}

impl Handler<Polled> for ChatActor {
    type Result = ();
    fn handle(&mut self, Polled(snapshot): Polled, ctx: &mut Self::Context) {
        self.hub.notice(snapshot);
        if self.runner.as_ref().is_some_and(|r| r.is_behind(snapshot)) {
            self.look(ctx);
        }
        self.settle(ctx);
    }
}

impl Handler<Subscribe> for ChatActor {
    type Result = ();
    fn handle(&mut self, s: Subscribe, ctx: &mut Self::Context) {
        if self.retired {
            // It found us just before we left: its place is with the successor.
            self.registry.admit(self.id, s);
            return;
        }
        let id = self.hub.subscribe(s.sink, s.after_id);
        self.tickets.insert(s.ticket, id);
        if self.draining {
            self.hub.close_all(CloseReason::Shutdown);
        }
        self.settle(ctx);
    }
}

impl Handler<Unsubscribe> for ChatActor {
    type Result = ();
    fn handle(&mut self, Unsubscribe(ticket): Unsubscribe, ctx: &mut Self::Context) {
        if let Some(id) = self.tickets.remove(&ticket) {
            self.hub.unsubscribe(id, CloseReason::Gone);
        }
        self.settle(ctx);
    }
}

impl Handler<OpenEpisode> for ChatActor {
    type Result = ();
    fn handle(&mut self, OpenEpisode(key): OpenEpisode, _: &mut Self::Context) {
        self.hub.open_episode(key, self.shared.clock.now());
    }
}

impl Handler<LiveParts> for ChatActor {
    type Result = ();
    fn handle(&mut self, LiveParts { key, parts }: LiveParts, ctx: &mut Self::Context) {
        let now = self.shared.clock.now();
        for (role, part) in &parts {
            if let Some(part) = self.hub.push(key, *role, part, now) {
                self.relay_out(&part);
            }
        }
        self.settle(ctx);
    }
}

impl Handler<ReadEnded> for ChatActor {
    type Result = ();
    fn handle(&mut self, r: ReadEnded, ctx: &mut Self::Context) {
        match r.result {
            Ok((head, changes, joins)) => {
                self.note_owner(head.versions.snapshot, head.owner);
                self.failed_reads = 0;
                let joins = r.spec.joins.into_iter().zip(joins).collect();
                self.hub.read_done(&ReadResult { changes, joins }, self.shared.clock.now());
            }
            Err(store::Error::NotFound) => {
                self.hub.read_failed();
                self.hub.close_all(CloseReason::Deleted);
                self.tickets.clear();
            }
            Err(e) => {
                self.failed_reads += 1;
                tracing::warn!(chat = %self.id, error = %e, "could not read the chat for its subscribers");
                self.hub.read_failed();
                if self.failed_reads >= READS_UNTIL_UNAVAILABLE {
                    self.failed_reads = 0;
                    self.hub.close_all(CloseReason::Unavailable);
                    self.tickets.clear();
                }
                self.reads_paused = true;
                ctx.run_later(READ_RETRY, |act, ctx| {
                    act.reads_paused = false;
                    act.settle(ctx);
                });
            }
        }
        self.settle(ctx);
    }
}

impl Handler<Reap> for ChatActor {
    type Result = ();
    fn handle(&mut self, _: Reap, ctx: &mut Self::Context) {
        self.hub.tick(self.shared.clock.now());
        self.sweep_readers();
        let needed = self.runner.is_some()
            || self.hub.subscribers() > 0
            || self.relays.has_readers()
            || !self.hub.episodes().is_empty();
        if !needed && !self.retired && self.idle_since.elapsed() >= self.shared.settings.retain_grace {
            self.retire(ctx);
        }
        self.settle(ctx);
    }
}

impl Handler<Drain> for ChatActor {
    type Result = ();
    fn handle(&mut self, Drain(grace): Drain, ctx: &mut Self::Context) {
        self.draining = true;
        self.hub.close_all(CloseReason::Shutdown);
        self.tickets.clear();
        self.drain_runner(grace, ctx);
        if self.runner.is_none() && !self.retired {
            self.retire(ctx);
        }
    }
}

impl Handler<Stop> for ChatActor {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
