//! Who lives: the chat actors of this replica, spread over arbiters by chat id, each entry removed
//! by a drop guard however its actor ends.

use super::{
    Shared,
    chat::{
        ChatActor, Drain, Own, Poll, Polled, Reap, Seen, Subscribe, Unsubscribe,
        relay::{Deselect, Select},
    },
    sink::{ChannelSink, PartsSink},
    subscription::{PartsSubscription, Streams, Subscription},
    supervise,
};
use crate::{
    chat::duty::Snapshot,
    ids::{ChatId, RunnerId, WorkerId},
    store::{Claimer, Taken, commit::Committed, records::Head},
    stream::{
        episode::EpisodeKey,
        relay::READER_QUEUE,
        subscriber::{CloseReason, Sink as _},
    },
};
use actix::{Actor, Addr, Arbiter, ArbiterHandle};
use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

/// Live figures of one chat actor, read at scrape time.
#[derive(Debug, Default)]
pub struct Figures {
    /// Subscribers.
    pub subscribers: AtomicUsize,
    /// Parts in its episode buffers.
    pub buffer_events: AtomicUsize,
    /// Bytes in its episode buffers.
    pub buffer_bytes: AtomicUsize,
}

/// Sums over all chat actors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Chat actors.
    pub actors: usize,
    /// Subscribers.
    pub subscribers: usize,
    /// Parts in all buffers.
    pub buffer_events: usize,
    /// Parts in the largest buffer.
    pub buffer_events_max: usize,
    /// Bytes in all buffers.
    pub buffer_bytes: usize,
}

struct Entry {
    addr: Addr<ChatActor>,
    epoch: u64,
    figures: Arc<Figures>,
}

struct Inner {
    shared: Arc<Shared>,
    arbiters: Vec<ArbiterHandle>,
    entries: Mutex<HashMap<ChatId, Entry>>,
    epoch: AtomicU64,
    ticket: AtomicU64,
    emptied: Notify,
}

/// Handle to the chat actors of this replica.
#[derive(Clone)]
pub struct Chats(Arc<Inner>);

impl Chats {
    /// An empty registry whose actors will live on these arbiters.
    #[must_use]
    pub fn new(shared: Arc<Shared>, arbiters: &[Arbiter]) -> Self {
        Self(Arc::new(Inner {
            shared,
            arbiters: arbiters.iter().map(Arbiter::handle).collect(),
            entries: Mutex::default(),
            epoch: AtomicU64::new(0),
            ticket: AtomicU64::new(0),
            emptied: Notify::new(),
        }))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ChatId, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The actor of a chat, if it lives.
    #[must_use]
    pub fn get(&self, chat: ChatId) -> Option<Addr<ChatActor>> {
        self.entries().get(&chat).filter(|e| e.addr.connected()).map(|e| e.addr.clone())
    }

    /// The actor for a reader. While the process stops none is started for one any more: nobody would
    /// end it, and the stop would wait for it.
    fn for_reader(&self, entries: &mut HashMap<ChatId, Entry>, chat: ChatId) -> Option<Addr<ChatActor>> {
        // Looked at under the lock: whoever stops the actors sets the flag and then takes the list.
        if *self.0.shared.draining.borrow() {
            return entries.get(&chat).filter(|e| e.addr.connected()).map(|e| e.addr.clone());
        }
        Some(self.start_in(entries, chat))
    }

    /// The actor of a chat, started if it does not live.
    fn start_in(&self, entries: &mut HashMap<ChatId, Entry>, chat: ChatId) -> Addr<ChatActor> {
        if let Some(e) = entries.get(&chat)
            && e.addr.connected()
        {
            return e.addr.clone();
        }
        let epoch = self.0.epoch.fetch_add(1, Ordering::Relaxed);
        let figures = Arc::new(Figures::default());
        let guard = Guard { chat, epoch, registry: Arc::downgrade(&self.0) };
        // One arbiter a chat, the same one every time.
        let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one(chat);
        let arbiter = &self.0.arbiters[usize::try_from(hash % self.0.arbiters.len() as u64).unwrap_or(0)];
        let actor = ChatActor::new(chat, self.0.shared.clone(), guard, figures.clone(), self.clone());
        let addr = ChatActor::start_in_arbiter(arbiter, move |_| actor);
        entries.insert(chat, Entry { addr: addr.clone(), epoch, figures });
        addr
    }

    /// Takes an actor off the list before it stops, so that nobody finds it any more.
    pub(super) fn retire(&self, guard: &Guard) {
        guard.remove(&self.0);
    }

    /// Hands a claimed chat to its actor.
    pub fn own(&self, head: Head, with: Option<Box<Committed>>, begun: bool) {
        // Sent under the lock, as are the two below: an actor that retires leaves the list first and then handles what it
        // was sent. What came later would be lost with it, a claimed chat for the length of its lease.
        let mut entries = self.entries();
        self.start_in(&mut entries, head.id).do_send(Own { head, with, begun });
    }

    /// Hands a reader of parts to the chat's actor. When there is none its queue ends at once.
    pub(super) fn select(&self, chat: ChatId, select: Select) {
        let mut entries = self.entries();
        if let Some(addr) = self.for_reader(&mut entries, chat) {
            addr.do_send(select);
        }
    }

    /// Hands a subscriber to the chat's actor. When there is none it is told that the process stops.
    pub(super) fn admit(&self, chat: ChatId, subscribe: Subscribe) {
        let mut entries = self.entries();
        match self.for_reader(&mut entries, chat) {
            Some(addr) => addr.do_send(subscribe),
            None => subscribe.sink.close(CloseReason::Shutdown),
        }
    }

    /// Passes on a hint, if anybody here cares for the chat.
    pub fn seen(&self, chat: ChatId, snapshot: Snapshot) {
        if let Some(addr) = self.get(chat) {
            addr.do_send(Seen(snapshot));
        }
    }

    /// The poller found this snapshot version.
    pub fn polled(&self, chat: ChatId, snapshot: i64) {
        if let Some(addr) = self.get(chat) {
            addr.do_send(Polled(snapshot));
        }
    }

    /// The chat may have moved, or be gone.
    pub fn poll(&self, chat: ChatId) {
        if let Some(addr) = self.get(chat) {
            addr.do_send(Poll);
        }
    }

    /// Tells every actor that its chat may have moved.
    pub fn poll_all(&self) {
        for addr in self.addresses() {
            addr.do_send(Poll);
        }
    }

    /// Asks every actor whether it is still needed.
    pub fn reap(&self) {
        for addr in self.addresses() {
            addr.do_send(Reap);
        }
    }

    /// Chats with a live actor.
    #[must_use]
    pub fn ids(&self) -> Vec<ChatId> {
        self.entries().keys().copied().collect()
    }

    fn addresses(&self) -> Vec<Addr<ChatActor>> {
        self.entries().values().map(|e| e.addr.clone()).collect()
    }

    /// Sums over all actors.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut t = Totals::default();
        for e in self.entries().values() {
            let events = e.figures.buffer_events.load(Ordering::Relaxed);
            t.actors += 1;
            t.subscribers += e.figures.subscribers.load(Ordering::Relaxed);
            t.buffer_events += events;
            t.buffer_events_max = t.buffer_events_max.max(events);
            t.buffer_bytes += e.figures.buffer_bytes.load(Ordering::Relaxed);
        }
        t
    }

    /// Ends every actor in order: streams close at once, tasks may finish within `grace`, then every
    /// owned chat is abandoned. Returns when all are gone, or shortly after the grace.
    pub async fn drain(&self, grace: Duration) {
        for addr in self.addresses() {
            addr.do_send(Drain(grace));
        }
        let all_gone = async {
            loop {
                let emptied = self.0.emptied.notified();
                if self.entries().is_empty() {
                    return;
                }
                emptied.await;
            }
        };
        /// After the grace: aborting and abandoning costs a database round trip a chat.
        const ABANDON_TIME: Duration = Duration::from_secs(5);
        if tokio::time::timeout(grace + ABANDON_TIME, all_gone).await.is_err() {
            tracing::warn!(
                left = self.entries().len(),
                "some chats could not be let go in time; their leases will end"
            );
        }
    }
}

impl Claimer for Chats {
    fn worker(&self) -> Option<WorkerId> {
        let shared = &self.0.shared;
        let s = &shared.settings;
        // Chats in all of the deployment are counted under a lock, which an accepted message must
        // not wait for.
        let limited = s.max_running_chats > 0 || s.max_running_subagents > 0;
        (s.worker_enabled && !limited && !*shared.draining.borrow()).then_some(shared.worker)
    }

    fn drives(&self, chat: ChatId, runner: RunnerId) -> bool {
        self.0.shared.owned.has(chat, runner)
    }

    fn take(&self, claimed: Taken) {
        match claimed {
            // Nobody can have read a chat that has just been made.
            Taken::Created(head) => self.own(head, None, true),
            Taken::Moved(done) => {
                let begun = done.begins_attempt();
                self.own(done.head.clone(), Some(done), begun);
            }
        }
    }
}

impl Streams for Chats {
    fn subscribe(&self, chat: ChatId, after_id: Option<i64>) -> Subscription {
        let ticket = self.0.ticket.fetch_add(1, Ordering::Relaxed);
        let (sink, outgoing) = ChannelSink::queue(self.0.shared.settings.subscriber_queue);
        self.admit(chat, Subscribe { ticket, after_id, sink });
        Subscription { outgoing, guard: Box::new(Leave { registry: self.clone(), chat, ticket }) }
    }

    fn parts(&self, chat: ChatId, key: EpisodeKey) -> PartsSubscription {
        let ticket = self.0.ticket.fetch_add(1, Ordering::Relaxed);
        let (sender, outgoing) = mpsc::channel(READER_QUEUE);
        self.select(chat, Select { ticket, key, sink: PartsSink(sender) });
        PartsSubscription { outgoing, guard: Box::new(LeaveParts { registry: self.clone(), chat, ticket }) }
    }
}

/// Removes the entry of an actor when it is dropped, after a stop and after a panic alike.
pub struct Guard {
    chat: ChatId,
    epoch: u64,
    registry: Weak<Inner>,
}

impl Guard {
    fn remove(&self, inner: &Inner) {
        let mut entries = inner.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // An old incarnation must not evict the new one.
        if entries.get(&self.chat).is_some_and(|e| e.epoch == self.epoch) {
            entries.remove(&self.chat);
        }
        if entries.is_empty() {
            inner.emptied.notify_waiters();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            supervise::actor_panicked(self.chat);
        }
        if let Some(inner) = self.registry.upgrade() {
            self.remove(&inner);
        }
    }
}

/// Takes a subscriber off when its session ends.
struct Leave {
    registry: Chats,
    chat: ChatId,
    ticket: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(addr) = self.registry.get(self.chat) {
            addr.do_send(Unsubscribe(self.ticket));
        }
    }
}

/// Takes a reader of parts off when it leaves or selects another episode.
struct LeaveParts {
    registry: Chats,
    chat: ChatId,
    ticket: u64,
}

impl Drop for LeaveParts {
    fn drop(&mut self) {
        if let Some(addr) = self.registry.get(self.chat) {
            addr.do_send(Deselect(self.ticket));
        }
    }
}
