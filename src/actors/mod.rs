//! Whatever outlives a request; each file is one loop or one actor. What an actor decides lies below
//! it, in pure code that needs no mailbox: [`crate::chat::duty`], [`crate::stream::hub`], [`crate::turn`].

pub mod acquisition;
pub mod builds;
pub mod chat;
pub mod debug;
pub mod heartbeat;
pub mod janitor;
pub mod poller;
pub mod registry;
pub mod relay;
pub mod replicas;
mod retention;
pub mod router;
pub mod sink;
pub mod subscription;
pub mod supervise;
pub mod titles;

#[cfg(test)]
mod tests;

use crate::{
    clock::Clock,
    ids::{ChatId, RunnerId, WorkerId},
    store::{Store, settings::LiveSettings, spend::ModelCall},
    stream::StreamLimits,
    tools::Session,
    turn::engine::TurnEngine,
    workspace::{
        connection::{Connection, Dialer},
        elsewhere::Replicas,
        in_vain::InVain,
        link::Links,
        mcp_tools::{Kept, McpTools},
    },
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};
use tokio::sync::watch;

/// Timings and limits of the actors; see the configuration for their meaning.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `worker.enabled`.
    pub worker_enabled: bool,
    /// `worker.acquire_interval`.
    pub acquire_interval: Duration,
    /// `worker.max_chats_per_acquire`.
    pub max_chats_per_acquire: i64,
    /// `worker.heartbeat_interval`.
    pub heartbeat_interval: Duration,
    /// `worker.lease`.
    pub lease: Duration,
    /// `worker.max_running_chats`.
    pub max_running_chats: i64,
    /// `worker.max_running_subagents`.
    pub max_running_subagents: i64,
    /// `limits.workspaces_per_user`.
    pub workspaces_per_user: i64,
    /// `stream.subscriber_queue`.
    pub subscriber_queue: usize,
    /// `stream.retain_grace`.
    pub retain_grace: Duration,
    /// `stream.janitor_interval`.
    pub janitor_interval: Duration,
    /// `stream.sync_interval`.
    pub sync_interval: Duration,
    /// `stream.coalesce`: parts that arrive within it are sent as one frame; zero = each at once.
    pub coalesce: Duration,
    /// Bounds of streams.
    pub stream: StreamLimits,
}

/// What the actors of one replica share.
pub struct Shared {
    /// The store.
    pub store: Store,
    /// Wall time.
    pub clock: Clock,
    /// This process.
    pub worker: WorkerId,
    /// Timings and limits.
    pub settings: Settings,
    /// The links of agents that this replica holds.
    pub links: Links,
    /// What administrators and users have set.
    pub live: Arc<LiveSettings>,
    /// What a turn needs: models, tools, limits.
    pub turn: Arc<TurnEngine>,
    /// The other replicas; `None` on SQLite, where there are none.
    pub replicas: Option<Arc<replicas::Replicas>>,
    /// Records model calls for debugging.
    pub debug: debug::Recorder,
    /// Chats this replica owns.
    pub owned: Owned,
    /// What a runner starts for a job: [`chat::jobs::run`], except where a test has it fail.
    pub drive: chat::jobs::Drive,
    /// Chats whose title is being made here.
    pub titles: chat::jobs::title::Underway,
    /// True once the process shuts down.
    pub draining: watch::Receiver<bool>,
}

impl Shared {
    /// The way from this replica to the agents of workspaces.
    pub(crate) fn dialer(&self) -> Dialer {
        let (store, clock, links) = (self.store.clone(), self.clock.clone(), self.links.clone());
        let known = self.replicas.clone();
        let replicas = known.map(|known| {
            Arc::new(replicas::Known::new(known, store.clone(), clock.clone(), self.worker))
                as Arc<dyn Replicas>
        });
        Dialer { store, clock, links, replicas }
    }

    /// What the tool calls of a chat share while it is driven here.
    pub(crate) fn tool_session(&self, chat: ChatId, kept: Kept) -> Session {
        let connection = Arc::new(Connection::of(chat, self.dialer()));
        Session {
            mcp: McpTools::of(chat, Arc::clone(&connection), kept),
            connection,
            building: tokio::sync::Mutex::new(()),
            live: Arc::clone(&self.live),
            workspaces_per_user: self.settings.workspaces_per_user,
            silent: InVain::default(),
            changed: AtomicBool::new(false),
        }
    }

    /// Enters a model call into the ledger that is committed with nothing else.
    pub(crate) async fn charge(&self, chat: ChatId, call: ModelCall) {
        if let Err(e) = self.store.charge(chat, call, self.clock.now()).await {
            tracing::error!(%chat, error = %e, "a model call is missing in the ledger");
        }
    }
}

/// The chats that this replica owns, for the heartbeat.
#[derive(Debug, Clone, Default)]
pub struct Owned(Arc<Mutex<HashMap<ChatId, RunnerId>>>);

impl Owned {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChatId, RunnerId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a chat until the answer is dropped.
    #[must_use]
    pub fn enter(&self, chat: ChatId, runner: RunnerId) -> OwnedGuard {
        self.lock().insert(chat, runner);
        OwnedGuard { owned: self.clone(), chat, runner }
    }

    /// Whether this runner drives this chat here.
    #[must_use]
    pub fn has(&self, chat: ChatId, runner: RunnerId) -> bool {
        self.lock().get(&chat) == Some(&runner)
    }

    /// Everything owned now.
    #[must_use]
    pub fn all(&self) -> Vec<(ChatId, RunnerId)> {
        self.lock().iter().map(|(c, r)| (*c, *r)).collect()
    }

    /// How many chats are owned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Takes a chat off the list when the runner ends, however it ends.
#[derive(Debug)]
pub struct OwnedGuard {
    owned: Owned,
    chat: ChatId,
    runner: RunnerId,
}

impl Drop for OwnedGuard {
    fn drop(&mut self) {
        let mut map = self.owned.lock();
        // A newer runner of the same chat stays.
        if map.get(&self.chat) == Some(&self.runner) {
            map.remove(&self.chat);
        }
    }
}
