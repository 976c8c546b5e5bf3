//! The face of the store: [`super::operations`] on one of two engines.
//! What a commit changed is announced on the bus after it is durable.

use super::{
    commit::{Accepted, Commit, Committed, Created, Idempotency},
    error::{Error, Result},
    operations::{TRIES, deadpool_take, is_collision},
    postgres::{self, PgStore, detached},
    records::{Claimed, Head, NewChat},
    sealing::Keyring,
    sqlite::{self, SqliteStore},
};
use crate::{
    bus::{Bus, ChatNotice, Notice, WatchKind},
    chat::state::{State, Status},
    clock::Timestamp,
    ids::{ChatId, UserId, WorkerId},
    metrics,
};
use diesel_async::{AsyncConnection, TransactionManager};
use std::{sync::atomic::Ordering, time::Duration, time::Instant};

#[derive(Clone)]
pub(super) enum Engine {
    Pg(PgStore),
    Sqlite(SqliteStore),
}

/// The store. Cloning shares it.
#[derive(Clone)]
pub struct Store {
    pub(super) engine: Engine,
    bus: Bus,
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
        Self { engine: Engine::Pg(engine), bus, keys: Keyring::none() }
    }

    /// A store on SQLite.
    #[must_use]
    pub fn sqlite(engine: SqliteStore, bus: Bus) -> Self {
        Self { engine: Engine::Sqlite(engine), bus, keys: Keyring::none() }
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

    /// Statements sent so far (transaction control not counted): lets tests assert costs.
    #[must_use]
    pub fn statements(&self) -> u64 {
        match &self.engine {
            Engine::Pg(s) => s.statements.load(Ordering::Relaxed),
            Engine::Sqlite(s) => s.statements.load(Ordering::Relaxed),
        }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<()> {
        self.database_now(Timestamp::from_micros(0)).await.map(|_| ())
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
        let done = self.create_row(new, now, key).await?;
        if let Accepted::Fresh(c) = &done {
            let head = &c.chat.head;
            self.bus.publish(Notice::Ownership { chat: head.id, snapshot: head.versions.snapshot });
            self.watch(c.chat.owner_id, head.id, WatchKind::Created);
        }
        Ok(done)
    }

    /// Runs one transaction on a chat and announces it.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn commit(&self, commit: Commit) -> Result<Accepted<Committed>> {
        let names = commit.commands.iter().map(|c| c.kind().as_str()).collect::<Vec<_>>().join("+");
        let by_runner = commit.fence.is_some();
        let started = Instant::now();
        let result = self.commit_row(commit).await;
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
            self.announce(c, by_runner);
        }
        Ok(done)
    }

    /// Archives or unarchives a whole family and announces each member.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn set_archived(&self, root: ChatId, archived: bool, now: Timestamp) -> Result<Vec<Committed>> {
        let done = self.archive_rows(root, archived, now).await?;
        for c in &done {
            self.announce(c, false);
            self.watch(c.owner_id, c.head.id, if archived { WatchKind::Deleted } else { WatchKind::Created });
        }
        Ok(done)
    }

    /// Claims runnable chats that nobody drives, oldest first.
    ///
    /// # Errors
    /// See [`Error`]; nothing was claimed then.
    pub async fn claim(&self, spec: ClaimSpec) -> Result<Vec<Claimed>> {
        let claimed = match &self.engine {
            Engine::Pg(s) => {
                let s = s.clone();
                let runtime = s.runtime.clone();
                detached(&runtime, async move {
                    operations!(@tx s, conn, "BEGIN" =>
                        postgres::queries::leases::claim(conn, claim_spec!(postgres, spec)).await)
                })
                .await?
            }
            Engine::Sqlite(s) => {
                s.write(move |conn| {
                    sqlite::now(sqlite::queries::leases::claim(conn, claim_spec!(sqlite, spec)))
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

    /// Forgets every lease, so that all runnable chats can be claimed at once. For the start of a
    /// daemon on SQLite, which holds the [`sqlite::InstanceLock`]: nobody else can be alive. Does
    /// nothing on PostgreSQL, where other replicas may be.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn forget_leases(&self) -> Result<usize> {
        match &self.engine {
            Engine::Pg(_) => Ok(0),
            Engine::Sqlite(_) => self.sweep_beats(Timestamp::from_micros(i64::MAX)).await,
        }
    }

    /// Sends a sidebar event.
    pub fn watch(&self, owner: UserId, chat: ChatId, kind: WatchKind) {
        self.bus.publish(Notice::Watch { owner, chat, kind });
    }

    /// A runner hands what it committed to its chat's actor itself, which then needs no read; only
    /// the other replicas are told of it.
    fn announce(&self, c: &Committed, by_runner: bool) {
        let hint = Notice::Chat(notice(&c.head));
        if by_runner {
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

fn status_of(state: State) -> Option<Status> {
    Some(match state {
        State::W | State::XW => Status::Waiting,
        State::E0 | State::E1 | State::XE0 | State::XE1 => Status::Error,
        State::R0 | State::R1 => Status::Running,
        State::I0 | State::I1 => Status::Interrupting,
        State::A0 | State::A1 => Status::RequiresAction,
        State::Invalid(status, _, _) => status,
    })
}

/// The hint about a chat's new columns.
#[must_use]
fn notice(head: &Head) -> ChatNotice {
    ChatNotice {
        chat: head.id,
        versions: head.versions,
        status: head.status,
        archived: head.archived,
        worker: head.owner.map(|o| o.worker),
        runner: head.owner.map(|o| o.runner),
    }
}
