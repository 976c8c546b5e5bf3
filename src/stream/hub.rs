//! All subscribers of one chat on one replica.
//!
//! The hub never does I/O. Its owner (the chat actor)
//! - asks [`Hub::reads_needed`] after every call, makes the read and answers with
//!   [`Hub::read_done`] or [`Hub::read_failed`];
//! - calls [`Hub::flush`] one tick after [`Hub::has_pending`] became true (at once to switch
//!   coalescing off);
//! - calls [`Hub::tick`] a few times a second while [`Hub::has_lagging`], and now and then otherwise;
//! - tells it about notices ([`Hub::notice`]) and at least every 10 s that it cannot know
//!   ([`Hub::poll`]).
//!
//! Everyone who is up to date is at the same position, because one read, made in one transaction,
//! serves them all. So an application is serialised once and its frames are shared.

use super::{
    StreamLimits,
    buffer::EpisodeBuffer,
    episode::{EpisodeKey, Relayed, SharedPart},
    fold::{Applied, Synced, apply},
    kept::Kept,
    subscriber::{Batch, CloseReason, Delivery, JoinFrom, Mode, Sink, Subscriber, SubscriberId},
    wire::{Event, Payload},
};
use crate::{
    chat::{
        message::{Part, Role},
        state::Versions,
    },
    clock::Timestamp,
    ids::{ChatId, MessageId},
    store::records::StreamRead,
};
use bytestring::ByteString;
use std::collections::BTreeMap;

/// Most different starting points served by one read, which bounds the histories in memory at once.
/// The rest waits for the next read.
pub const MAX_JOINS: usize = 16;

/// A read the hub needs: all of it in ONE read transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadSpec {
    /// What changed since these versions, for those who are up to date. `None`: nobody is.
    pub since: Option<Versions>,
    /// Starting points of those who are not, each once.
    pub joins: Vec<JoinFrom>,
}

/// The answer to a [`ReadSpec`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadResult {
    /// For [`ReadSpec::since`].
    pub changes: Option<StreamRead>,
    /// For each of [`ReadSpec::joins`].
    pub joins: Vec<(JoinFrom, StreamRead)>,
}

/// Totals since the hub began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HubStats {
    /// Live parts taken.
    pub parts: u64,
    /// Times a subscriber's queue was found full.
    pub lagged: u64,
    /// Times a subscriber was brought up to date by a fresh read.
    pub resyncs: u64,
    /// Subscribers closed because they did not drain.
    pub closed_slow: u64,
    /// Database states applied to those who were up to date.
    pub applications: u64,
    /// Reads that failed.
    pub failed_reads: u64,
}

/// The stream of one chat.
#[derive(Debug)]
pub struct Hub<S> {
    limits: StreamLimits,
    episodes: EpisodeBuffer,
    subscribers: BTreeMap<SubscriberId, Subscriber<S>>,
    next_id: u64,
    /// Where everyone who is up to date is; `None` while nobody is.
    synced: Option<Synced>,
    /// Parts of the followed episode that wait for the next flush; contiguous.
    pending: Vec<SharedPart>,
    pending_bytes: usize,
    reading: bool,
    /// The newest snapshot that was announced and not read yet; `i64::MAX` = unknown.
    wanted: Option<i64>,
    departed: Vec<(SubscriberId, CloseReason)>,
    stats: HubStats,
}

impl<S: Sink> Hub<S> {
    /// A stream without subscribers.
    #[must_use]
    pub fn new(chat: ChatId, limits: StreamLimits) -> Self {
        Self {
            limits,
            episodes: EpisodeBuffer::new(chat, limits),
            subscribers: BTreeMap::new(),
            next_id: 0,
            synced: None,
            pending: Vec::new(),
            pending_bytes: 0,
            reading: false,
            wanted: None,
            departed: Vec::new(),
            stats: HubStats::default(),
        }
    }

    // ---- subscribers ----

    /// Adds a subscriber, which gets everything from its first read on.
    pub fn subscribe(&mut self, sink: S, after_id: Option<i64>) -> SubscriberId {
        self.next_id += 1;
        let id = SubscriberId(self.next_id);
        self.subscribers.insert(id, Subscriber::new(sink, JoinFrom::AfterId(after_id)));
        id
    }

    /// Takes a subscriber off; false when it was off already.
    pub fn unsubscribe(&mut self, id: SubscriberId, reason: CloseReason) -> bool {
        let Some(subscriber) = self.subscribers.remove(&id) else { return false };
        subscriber.sink.close(reason);
        self.settle();
        true
    }

    /// Takes everyone off.
    pub fn close_all(&mut self, reason: CloseReason) {
        for (_, subscriber) in std::mem::take(&mut self.subscribers) {
            subscriber.sink.close(reason);
        }
        self.settle();
    }

    /// Those whom the hub itself took off since the last call.
    pub fn take_departed(&mut self) -> Vec<(SubscriberId, CloseReason)> {
        std::mem::take(&mut self.departed)
    }

    // ---- live parts ----

    /// Opens the episode of an attempt. To be called before the attempt is recorded.
    pub fn open_episode(&mut self, key: EpisodeKey, now: Timestamp) -> bool {
        self.episodes.open(key, now)
    }

    /// Takes a part of the model. Parts of an episode that the subscribers have not been told of
    /// yet wait in the buffer for the read that tells them. `None`: the episode is not open.
    pub fn push(&mut self, key: EpisodeKey, role: Role, part: &Part, now: Timestamp) -> Option<SharedPart> {
        let shared = self.episodes.push(key, role, part)?;
        self.take(shared.clone(), now);
        Some(shared)
    }

    /// Takes a part that the chat's owner, another replica, numbered.
    pub fn relay(&mut self, part: SharedPart, now: Timestamp) -> Relayed {
        let relayed = self.episodes.relay(&part, now);
        if relayed == Relayed::Accepted {
            self.take(part, now);
        }
        relayed
    }

    fn take(&mut self, part: SharedPart, now: Timestamp) {
        self.stats.parts += 1;
        if self.follow() != Some(part.key) {
            return;
        }
        self.pending_bytes += part.event.len();
        self.pending.push(part);
        if self.pending_bytes >= self.limits.frame_bytes {
            self.flush(now);
        }
    }

    /// Ends an episode and answers with its accumulated content.
    pub fn close_episode(&mut self, key: EpisodeKey, now: Timestamp) -> &Kept {
        self.episodes.close(key, now)
    }

    /// Whether parts wait for [`Hub::flush`].
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Sends the waiting parts, one frame for everyone at the same place.
    pub fn flush(&mut self, now: Timestamp) {
        let Some(first) = self.pending.first().map(|p| p.seq) else { return };
        let mut built: Vec<(u64, Batch)> = Vec::with_capacity(1);
        let mut gone = Vec::new();
        for (id, subscriber) in self.subscribers.iter_mut().filter(|(_, s)| s.mode == Mode::Live) {
            let next = subscriber.seq + 1;
            // Before `first`: it misses a part that found no room in the buffer, and waits for the message.
            let Some(rest) = next
                .checked_sub(first)
                .and_then(|skip| usize::try_from(skip).ok())
                .and_then(|skip| self.pending.get(skip..))
                .filter(|rest| !rest.is_empty())
            else {
                continue;
            };
            let at = built.iter().position(|(start, _)| *start == next).unwrap_or_else(|| {
                built.push((next, Batch::parts(rest, next, self.limits.frame_bytes)));
                built.len() - 1
            });
            match subscriber.deliver(&built[at].1, now) {
                Delivery::Whole => {}
                Delivery::Lagged => self.stats.lagged += 1,
                Delivery::Gone => gone.push(*id),
            }
        }
        self.pending.clear();
        self.pending_bytes = 0;
        self.depart(gone, CloseReason::Gone);
    }

    // ---- database reads ----

    /// A notice that the chat has reached a snapshot. A hint: it may be lost, late or doubled.
    pub fn notice(&mut self, snapshot: i64) {
        if self.synced.as_ref().is_none_or(|s| s.versions.snapshot < snapshot) {
            self.wanted = self.wanted.max(Some(snapshot));
        }
    }

    /// A transaction of this replica took the chat from one snapshot to the next. Those who are at
    /// the former one are brought to the latter without a read; otherwise it counts as a notice.
    /// `change` is what a read since `previous` would have found; it must not be a reset.
    pub fn committed(&mut self, previous: i64, change: &StreamRead, now: Timestamp) {
        let snapshot = change.head.versions.snapshot;
        let at_previous = self.synced.as_ref().filter(|s| s.versions.snapshot == previous);
        let (Some(prev), false) = (at_previous, self.reading) else {
            self.notice(snapshot);
            return;
        };
        let applied = apply(Some(prev), change);
        // What was streamed before this state belongs before it.
        self.flush(now);
        self.advance(&applied, now);
        if self.wanted.is_some_and(|w| w <= snapshot) {
            self.wanted = None;
        }
        self.settle();
    }

    /// The chat may have moved without a notice.
    pub fn poll(&mut self) {
        self.wanted = Some(i64::MAX);
    }

    /// The read to make now, if one is needed and none is under way.
    pub fn reads_needed(&mut self) -> Option<ReadSpec> {
        if self.reading {
            return None;
        }
        let mut joins: Vec<JoinFrom> = Vec::new();
        for subscriber in self.subscribers.values_mut() {
            if let Mode::Joining { asked } = &mut subscriber.mode {
                let known = joins.contains(&subscriber.from);
                if !known && joins.len() < MAX_JOINS {
                    joins.push(subscriber.from);
                }
                *asked = known || joins.last() == Some(&subscriber.from);
            }
        }
        let current = self.subscribers.values().any(Subscriber::is_current);
        if joins.is_empty() && !(current && self.wanted.is_some()) {
            return None;
        }
        self.reading = true;
        self.wanted = None;
        let since = self.synced.as_ref().filter(|_| current).map(|s| s.versions);
        Some(ReadSpec { since, joins })
    }

    /// The read failed. It is needed still; the owner waits a moment before it asks again.
    pub fn read_failed(&mut self) {
        if std::mem::take(&mut self.reading) {
            self.stats.failed_reads += 1;
            self.poll();
            self.forget_asked();
        }
    }

    /// The read is here.
    pub fn read_done(&mut self, result: &ReadResult, now: Timestamp) {
        if !std::mem::take(&mut self.reading) {
            return;
        }
        let read = result.changes.as_ref().or(result.joins.first().map(|(_, r)| r));
        let Some(snapshot) = read.map(|r| r.head.versions.snapshot) else {
            self.forget_asked();
            return;
        };
        if self.synced.as_ref().is_some_and(|s| s.versions.snapshot > snapshot) {
            // From a place that lags behind what was read before; nobody may go back.
            self.forget_asked();
            self.poll();
            return;
        }
        // What was streamed before this state was read belongs before it.
        self.flush(now);
        if let (Some(prev), Some(read)) = (&self.synced, &result.changes) {
            let applied = apply(Some(prev), read);
            if applied.synced != *prev {
                self.advance(&applied, now);
            }
        }
        for (from, read) in &result.joins {
            self.join(*from, &apply(None, read), now);
        }
        self.forget_asked();
        if self.wanted.is_some_and(|w| w <= snapshot) {
            self.wanted = None;
        }
        self.settle();
    }

    /// Brings those who were up to date to the new state.
    fn advance(&mut self, applied: &Applied, now: Timestamp) {
        self.stats.applications += 1;
        let restart = applied.events.iter().any(|e| e.payload == Payload::PreviewReset);
        let batch = self.batch(applied, restart);
        self.synced = Some(applied.synced.clone());
        let mut gone = Vec::new();
        for (id, subscriber) in &mut self.subscribers {
            match &mut subscriber.mode {
                Mode::Joining { .. } | Mode::Paging => {}
                Mode::Lagging(lag) => lag.behind = true,
                Mode::Live => {
                    if restart {
                        subscriber.seq = 0;
                    }
                    match subscriber.deliver(&batch, now) {
                        Delivery::Whole => {}
                        Delivery::Lagged => self.stats.lagged += 1,
                        Delivery::Gone => gone.push(*id),
                    }
                }
            }
        }
        self.depart(gone, CloseReason::Gone);
    }

    /// Brings those who asked to be read in from `from` to the state everyone is at.
    fn join(&mut self, from: JoinFrom, applied: &Applied, now: Timestamp) {
        let mut batch = None;
        let (mut gone, mut joined) = (Vec::new(), false);
        let waiting: Vec<SubscriberId> = self
            .subscribers
            .iter()
            .filter(|(_, s)| s.mode == Mode::Joining { asked: true } && s.from == from)
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            let batch = batch.get_or_insert_with(|| self.batch(applied, true));
            let Some(subscriber) = self.subscribers.get_mut(&id) else { continue };
            subscriber.seq = 0;
            joined = true;
            match subscriber.deliver(batch, now) {
                Delivery::Whole => {}
                Delivery::Lagged => self.stats.lagged += 1,
                Delivery::Gone => gone.push(id),
            }
        }
        // Who has a part of the history is nowhere yet.
        if joined && !applied.more {
            self.synced = Some(applied.synced.clone());
        }
        self.depart(gone, CloseReason::Gone);
    }

    /// The frames of an application, with the parts so far of the episode to follow if the preview
    /// begins anew.
    fn batch(&self, applied: &Applied, with_parts: bool) -> Batch {
        let ids: Vec<_> = applied
            .events
            .iter()
            .map(|e| match &e.payload {
                Payload::Message(m) => Some(m.id),
                Payload::HistoryReset => Some(MessageId(0)),
                _ => None,
            })
            .collect();
        let events: Vec<ByteString> = applied.events.iter().map(Event::encode).collect();
        let parts: &[ByteString] = match applied.follow {
            Some(key) if with_parts => self.episodes.parts_after(key, 0),
            _ => &[],
        };
        let leads_to = (applied.synced.versions.history, applied.more);
        Batch::application(events, &ids, leads_to, parts, self.limits.frame_bytes)
    }

    // ---- slow readers ----

    /// Goes on with readers whose queue has drained, closes those whose queue is stuck, and forgets
    /// old episodes.
    pub fn tick(&mut self, now: Timestamp) {
        let follow = self.follow();
        let (mut gone, mut slow) = (Vec::new(), Vec::new());
        for (id, subscriber) in &mut self.subscribers {
            subscriber.take_next_page();
            let Mode::Lagging(lag) = subscriber.mode else { continue };
            if subscriber.sink.queued() > 0 {
                if subscriber.is_stuck(now, self.limits.drain_timeout) {
                    slow.push(*id);
                }
            } else if lag.behind {
                self.stats.resyncs += 1;
                subscriber.mode = Mode::Joining { asked: false };
            } else {
                // It missed parts only: it gets them from the buffer, in as few frames as they fit.
                let missed = follow.map_or(&[][..], |key| self.episodes.parts_after(key, subscriber.seq));
                match subscriber
                    .deliver(&Batch::parts(missed, subscriber.seq + 1, self.limits.frame_bytes), now)
                {
                    Delivery::Whole => {}
                    Delivery::Lagged => self.stats.lagged += 1,
                    Delivery::Gone => gone.push(*id),
                }
            }
        }
        self.stats.closed_slow += slow.len() as u64;
        self.depart(gone, CloseReason::Gone);
        self.depart(slow, CloseReason::TooSlow);
        self.episodes.expire(now);
    }

    /// Whether a reader waits for room in its queue, so that [`Hub::tick`] matters soon.
    #[must_use]
    pub fn has_lagging(&self) -> bool {
        self.subscribers.values().any(|s| matches!(s.mode, Mode::Lagging(_) | Mode::Paging))
    }

    // ---- gauges ----

    /// Subscribers, of whatever kind.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    /// The episodes.
    #[must_use]
    pub const fn episodes(&self) -> &EpisodeBuffer {
        &self.episodes
    }

    /// The episodes, for the readers of a relay.
    pub const fn episodes_mut(&mut self) -> &mut EpisodeBuffer {
        &mut self.episodes
    }

    /// Totals.
    #[must_use]
    pub const fn stats(&self) -> HubStats {
        self.stats
    }

    /// The episode whose parts the subscribers get; what a relay has to select.
    #[must_use]
    pub fn follow(&self) -> Option<EpisodeKey> {
        self.synced.as_ref().and_then(Synced::follow)
    }

    fn forget_asked(&mut self) {
        for subscriber in self.subscribers.values_mut() {
            if let Mode::Joining { asked } = &mut subscriber.mode {
                *asked = false;
            }
        }
    }

    fn depart(&mut self, ids: Vec<SubscriberId>, reason: CloseReason) {
        for id in ids {
            if self.unsubscribe(id, reason) {
                self.departed.push((id, reason));
            }
        }
    }

    /// The position is forgotten with the last one who is at it: nobody will keep it up to date.
    fn settle(&mut self) {
        if !self.subscribers.values().any(Subscriber::is_current) {
            self.synced = None;
            self.pending = Vec::new();
            self.pending_bytes = 0;
        }
    }
}
