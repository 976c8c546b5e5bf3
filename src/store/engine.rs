//! The face of the store: [`super::operations`] on one of two engines.
//! What a commit changed is announced on the bus after it is durable.

use super::{
    announce::{notice, status_of},
    claimer::{Claimer, Offer},
    commit::{Accepted, Commit, Committed, Created, Idempotency},
    error::{Error, Result},
    operations::{TRIES, deadpool_take, is_collision, spend::unresolved},
    postgres::{self, PgStore, detached},
    records::{Claimed, NewChat},
    sealing::Keyring,
    spend::Gate,
    sqlite::{self, SqliteStore},
};
use crate::{
    bus::{Bus, Notice, WatchKind},
    chat::{command::Command, state::Status},
    clock::Timestamp,
    ids::{ChatId, UserId, WorkerId},
    metrics,
};
use diesel_async::{AsyncConnection, TransactionManager};
use std::{
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

/// Whoever asks whether the database answers wants to know it before they give up themselves.
const PING_WAIT: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub(super) enum Engine {
    Pg(PgStore),
    Sqlite(SqliteStore),
}

/// The store. Cloning shares it.
#[derive(Clone)]
pub struct Store {
    pub(super) engine: Engine,
    pub(super) bus: Bus,
    pub(super) gate: Gate,
    claimer: Arc<OnceLock<Weak<dyn Claimer>>>,
    keys: Keyring,
}

/// Limits of a claim. Times are compared on the database's clock.
#[derive(Debug, Clone, Copy)]
pub struct ClaimSpec {
    /// Who claims.
    pub worker: WorkerId,
    /// Most chats to claim.
    pub limit: i64,
    /// Age at which a heartbeat counts as dead.
    pub lease: Duration,
    /// Most root chats that may run in the whole deployment; 0 = no limit.
    pub max_running_chats: i64,
    /// Most child chats that may run; 0 = no limit.
    pub max_running_subagents: i64,
    /// The moment of the claim.
    pub now: Timestamp,
    /// How long it may take. What a database that stood still carries out only then would go by leases
    /// that nobody could renew meanwhile.
    pub patience: Duration,
}

macro_rules! claim_spec {
    ($engine:ident, $s:ident) => {
        $engine::queries::leases::ClaimSpec {
            worker: $s.worker,
            limit: $s.limit,
            lease: $s.lease,
            max_running_chats: $s.max_running_chats,
            max_running_subagents: $s.max_running_subagents,
            now: $s.now,
        }
    };
}

impl Store {
    /// A store on PostgreSQL.
    #[must_use]
    pub fn postgres(engine: PgStore, bus: Bus) -> Self {
        Self::on(Engine::Pg(engine), bus)
    }

    /// A store on SQLite.
    #[must_use]
    pub fn sqlite(engine: SqliteStore, bus: Bus) -> Self {
        Self::on(Engine::Sqlite(engine), bus)
    }

    fn on(engine: Engine, bus: Bus) -> Self {
        Self { engine, bus, gate: Gate::default(), claimer: Arc::default(), keys: Keyring::none() }
    }

    /// From now on chats are claimed for this claimer, as long as it lives, in the transactions that
    /// leave them to be driven. The first one stays.
    pub fn claim_for(&self, claimer: Weak<dyn Claimer>) {
        self.claimer.get_or_init(|| claimer);
    }

    fn offer(&self) -> Option<Offer> {
        Offer::of(self.claimer.get()?.upgrade()?)
    }

    /// The same store with the keys that secrets are sealed with.
    #[must_use]
    pub fn with_keys(self, keys: Keyring) -> Self {
        Self { keys, ..self }
    }

    /// The keys that secrets are sealed with.
    #[must_use]
    pub fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// `sqlite` or `postgres`.
    #[must_use]
    pub fn engine_name(&self) -> &'static str {
        match self.engine {
            Engine::Pg(_) => "postgres",
            Engine::Sqlite(_) => "sqlite",
        }
    }

    /// The bus on which commits are announced.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// What the statements of this store are counted with.
    #[cfg(test)]
    pub(super) fn counter(&self) -> &std::sync::Arc<std::sync::atomic::AtomicU64> {
        match &self.engine {
            Engine::Pg(s) => &s.statements,
            Engine::Sqlite(s) => &s.statements,
        }
    }

    /// Statements sent so far (transaction control not counted): lets tests assert costs.
    #[must_use]
    pub fn statements(&self) -> u64 {
        match &self.engine {
            Engine::Pg(s) => s.statements.load(Ordering::Relaxed),
            Engine::Sqlite(s) => s.statements.load(Ordering::Relaxed),
        }
    }

    /// Whether the database answers, and soon: it is read.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<()> {
        let read = tokio::time::timeout(PING_WAIT, self.access_version()).await;
        read.map_err(|_| Error::Silent)?.map(|_| ())
    }

    /// Creates a chat and announces it.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn create_chat(
        &self,
        new: NewChat,
        now: Timestamp,
        key: Option<Idempotency<Created>>,
    ) -> Result<Accepted<Created>> {
        let asked = self.gate.ask();
        let unasked = asked.is_some().then(|| (new.clone(), key.clone()));
        let mut done = self.create_row(new, now, key, asked, self.offer()).await;
        // Whoever cannot be told to be over a limit is not.
        if let (Err(Error::LimitUnresolved(cause)), Some((new, key))) = (&done, unasked) {
            unresolved(cause);
            done = self.create_row(new, now, key, None, self.offer()).await;
        }
        let done = done?;
        if let Accepted::Fresh(c) = &done {
            let head = &c.chat.head;
            if head.owner.is_some() {
                ::metrics::counter!(metrics::CLAIMS_TOTAL).increment(1);
            } else {
                self.bus.publish(Notice::Ownership { chat: head.id, snapshot: head.versions.snapshot });
            }
            self.watch(c.chat.owner_id, head.id, WatchKind::Created);
        }
        Ok(done)
    }

    /// Runs one transaction on a chat and announces it.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn commit(&self, mut commit: Commit) -> Result<Accepted<Committed>> {
        let names = commit.commands.iter().map(|c| c.kind().as_str()).collect::<Vec<_>>().join("+");
        // A runner keeps its chat, and whoever lets a chat go does not want it back.
        let by_runner = commit.fence.is_some();
        let offer =
            if by_runner || commit.commands.contains(&Command::Abandon) { None } else { self.offer() };
        let owner = offer.as_ref().map(|o| o.owner);
        let started = Instant::now();
        commit.spend = if commit.admits() { self.gate.ask() } else { None };
        let unasked =
            commit.spend.is_some().then(|| (Commit { spend: None, ..commit.clone() }, offer.clone()));
        let mut result = self.commit_row(commit, offer).await;
        // Whoever cannot be told to be over a limit is not.
        if let (Err(Error::LimitUnresolved(cause)), Some((commit, offer))) = (&result, unasked) {
            unresolved(cause);
            result = self.commit_row(commit, offer).await;
        }
        let outcome = match &result {
            Ok(_) => "committed",
            Err(Error::Stale) => {
                ::metrics::counter!(metrics::STALE_COMMITS_TOTAL).increment(1);
                "rolled_back"
            }
            Err(Error::Overloaded | Error::Unavailable(_)) => "lock_unavailable",
            Err(_) => "rolled_back",
        };
        ::metrics::histogram!(metrics::TRANSITION_DURATION_SECONDS, "transition" => names, "outcome" => outcome)
            .record(started.elapsed().as_secs_f64());
        let done = result?;
        if let Accepted::Fresh(c) = &done {
            let claimed = owner.is_some() && c.head.owner == owner;
            if claimed {
                ::metrics::counter!(metrics::CLAIMS_TOTAL).increment(1);
            }
            self.announce(c, by_runner || claimed);
        }
        Ok(done)
    }

    /// Archives or unarchives a whole family and announces each member.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn set_archived(&self, root: ChatId, archived: bool, now: Timestamp) -> Result<Vec<Committed>> {
        let done = self.archive_rows(root, archived, now).await?;
        self.announce_archived(&done, archived);
        Ok(done)
    }

    /// Archives a whole family, unless it has had a message since the moment or was pinned meanwhile,
    /// and announces each member.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn archive_idle(
        &self,
        root: ChatId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Committed>> {
        let done = self.archive_idle_rows(root, since, now).await?;
        self.announce_archived(&done, true);
        Ok(done)
    }

    fn announce_archived(&self, done: &[Committed], archived: bool) {
        for c in done {
            self.announce(c, false);
            self.watch(c.owner_id, c.head.id, if archived { WatchKind::Deleted } else { WatchKind::Created });
        }
    }

    /// Claims runnable chats that nobody drives, oldest first. What is driven in this process is not claimed
    /// again when its lease was lost: the process stood still, the clock was set, or the database was away.
    ///
    /// # Errors
    /// See [`Error`]; nothing was claimed then.
    pub async fn claim(&self, spec: ClaimSpec) -> Result<Vec<Claimed>> {
        let claimer = self.claimer.get().and_then(Weak::upgrade);
        let driven = move |chat, runner| claimer.as_ref().is_some_and(|c| c.drives(chat, runner));
        let claimed = match &self.engine {
            Engine::Pg(s) => {
                let s = s.clone().answering_within(spec.patience);
                let runtime = s.runtime.clone();
                detached(&runtime, async move {
                    operations!(@tx s, conn, "BEGIN ISOLATION LEVEL READ COMMITTED" =>
                        postgres::queries::leases::claim(conn, claim_spec!(postgres, spec), &driven).await)
                })
                .await?
            }
            Engine::Sqlite(s) => {
                s.write(move |conn| {
                    sqlite::now(sqlite::queries::leases::claim(conn, claim_spec!(sqlite, spec), &driven))
                })
                .await?
            }
        };
        for c in &claimed {
            ::metrics::counter!(metrics::CLAIMS_TOTAL).increment(1);
            if c.takeover {
                ::metrics::counter!(metrics::TAKEOVERS_TOTAL).increment(1);
            }
            self.bus.publish_remote(Notice::Chat(notice(&c.head)));
        }
        Ok(claimed)
    }

    /// Forgets every lease, so that all runnable chats can be claimed at once and builds that were cut off
    /// are ended; how many chats had one. For the start of a daemon on SQLite, which holds the
    /// [`sqlite::InstanceLock`]: nobody else can be alive. Does nothing on PostgreSQL, where other replicas
    /// may be.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn forget_leases(&self) -> Result<usize> {
        match &self.engine {
            Engine::Pg(_) => Ok(0),
            Engine::Sqlite(_) => {
                self.forget_build_leases().await?;
                self.sweep_beats(Timestamp::from_micros(i64::MAX)).await
            }
        }
    }

    /// Leaves everything in the file of the database, for the end of a daemon on SQLite. PostgreSQL sees to
    /// its files itself.
    ///
    /// # Errors
    /// When it cannot be written; nothing is lost then.
    pub async fn settle(&self) -> Result<()> {
        match &self.engine {
            Engine::Pg(_) => Ok(()),
            Engine::Sqlite(s) => s.settle().await,
        }
    }

    /// Sends a sidebar event.
    pub fn watch(&self, owner: UserId, chat: ChatId, kind: WatchKind) {
        self.bus.publish(Notice::Watch { owner, chat, kind });
    }

    /// What a runner committed, and what a claim came with, is handed to the chat's actor, which then
    /// needs no read; only the other replicas are told of it.
    fn announce(&self, c: &Committed, handed: bool) {
        let hint = Notice::Chat(notice(&c.head));
        if handed {
            self.bus.publish_remote(hint);
        } else {
            self.bus.publish(hint);
        }
        if c.head.status.is_runnable() && !c.head.archived && c.head.owner.is_none() {
            self.bus.publish(Notice::Ownership { chat: c.head.id, snapshot: c.head.versions.snapshot });
        }
        if status_of(c.before) != Some(c.head.status) {
            self.watch(c.owner_id, c.head.id, WatchKind::StatusChange);
            if c.head.status == Status::RequiresAction {
                self.watch(c.owner_id, c.head.id, WatchKind::ActionRequired);
            }
        }
    }
}
