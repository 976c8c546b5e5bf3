//! The face of the store: each operation is one line of [`operations!`], the same for both engines.
//! What a commit changed is announced on the bus after it is durable.

use super::{
    commit::{Accepted, Commit, Committed, Created, Idempotency},
    error::{Error, Result},
    postgres::{self, PgStore, detached},
    records::{
        ChatRecord, Claimed, Head, JoinFrom, ListFilter, ListedChat, MessageRow, MetaPatch, NewChat,
        OrganizationRecord, PageSpec, PendingCall, QueuedRow, StreamRead, TokenRecord, UserRecord,
    },
    sealing::Keyring,
    sqlite::{self, SqliteStore},
};
use crate::{
    bus::{Bus, ChatNotice, Notice, WatchKind},
    chat::state::{State, Status, Versions},
    clock::Timestamp,
    ids::{ChatId, MessageId, RunnerId, UserId, WorkerId},
    metrics,
};
use diesel_async::{AsyncConnection, TransactionManager};
use std::{sync::atomic::Ordering, time::Duration, time::Instant};

#[derive(Clone)]
enum Engine {
    Pg(PgStore),
    Sqlite(SqliteStore),
}

/// The store. Cloning shares it.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
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

/// Tries of a PostgreSQL transaction that met another one.
const TRIES: usize = 4;

macro_rules! operations {
    ($($(#[$doc:meta])* $kind:ident $vis:vis $name:ident = $module:ident :: $query:ident ( $($arg:ident : $ty:ty),* ) -> $out:ty;)*) => {
        impl Store { $(
            $(#[$doc])*
            ///
            /// # Errors
            /// See [`Error`]; nothing was written then.
            $vis async fn $name(&self, $($arg: $ty),*) -> Result<$out> {
                match &self.engine {
                    Engine::Pg(s) => {
                        let s = s.clone();
                        let runtime = s.runtime.clone();
                        detached(&runtime, async move { operations!(@pg $kind s, conn => {
                            $(let $arg = $arg.clone();)*
                            postgres::queries::$module::$query(conn, $($arg),*).await
                        }) }).await
                    }
                    Engine::Sqlite(s) => operations!(@lite $kind s, conn =>
                        sqlite::now(sqlite::queries::$module::$query(conn, $($arg),*))),
                }
            }
        )* }
    };
    // One statement, or several that need no common snapshot.
    (@pg read $s:ident, $c:ident => $q:expr) => {{
        let mut tries = 0;
        loop {
            tries += 1;
            let mut object = $s.connection().await?;
            let $c = &mut *object;
            let result: Result<_> = $q;
            match result {
                Err(e) if e.is_lost_connection() && tries < $s.tries() => {
                    tracing::debug!(error = %e, "a pooled connection was closed");
                    drop(deadpool_take(object));
                }
                other => break other,
            }
        }
    }};
    (@pg snapshot $s:ident, $c:ident => $q:expr) => { operations!(@tx $s, $c, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" => $q) };
    // A write that no other work may hold up.
    (@pg beat $s:ident, $c:ident => $q:expr) => {{
        let lifeline = $s.for_beats();
        operations!(@tx lifeline, $c, "BEGIN" => $q)
    }};
    (@pg write $s:ident, $c:ident => $q:expr) => { operations!(@tx $s, $c, "BEGIN" => $q) };
    (@tx $s:ident, $c:ident, $begin:literal => $q:expr) => {{
        type Tm = <postgres::Conn as AsyncConnection>::TransactionManager;
        let started = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let mut object = $s.connection().await?;
            let $c = &mut *object;
            // A closed connection shows here, before anything was done: another one is safe.
            if let Err(e) = Tm::begin_transaction_sql($c, $begin).await {
                let e = Error::from(e);
                drop(deadpool_take(object));
                if tries < $s.tries() { continue; }
                break Err(e);
            }
            let result: Result<_> = async { $q }.await;
            let conn = &mut *object;
            match result {
                Ok(done) => {
                    let committed = <Tm as TransactionManager<postgres::Conn>>::commit_transaction(conn).await;
                    ::metrics::histogram!(metrics::COMMIT_SECONDS).record(started.elapsed().as_secs_f64());
                    break committed.map(|()| done).map_err(Error::from);
                }
                Err(e) => {
                    if <Tm as TransactionManager<postgres::Conn>>::rollback_transaction(conn).await.is_err() {
                        drop(deadpool_take(object));
                    }
                    // A deadlock undid all of it, and so did a collision of two first uses of one key.
                    let again = if e.is_lost_connection() { $s.tries() } else { TRIES };
                    if tries < again && (e.is_transient() || is_collision(&e)) {
                        continue;
                    }
                    break Err(e);
                }
            }
        }
    }};
    (@lite read $s:ident, $c:ident => $q:expr) => { $s.read(move |$c| $q).await };
    (@lite snapshot $s:ident, $c:ident => $q:expr) => { $s.snapshot(move |$c| $q).await };
    (@lite beat $s:ident, $c:ident => $q:expr) => { $s.write(move |$c| $q).await };
    (@lite write $s:ident, $c:ident => $q:expr) => { $s.write(move |$c| $q).await };
}

// Families of operations, in files of their own: they see the macro above.
mod keys;
mod models;

fn deadpool_take(
    object: diesel_async::pooled_connection::deadpool::Object<diesel_async::AsyncPgConnection>,
) -> diesel_async::AsyncPgConnection {
    diesel_async::pooled_connection::deadpool::Object::take(object)
}

fn is_collision(e: &Error) -> bool {
    use diesel::result::{DatabaseErrorKind, Error as D};
    matches!(e, Error::Database(D::DatabaseError(DatabaseErrorKind::UniqueViolation, _)))
}

operations! {
    /// Creates a chat; announced by [`Store::create_chat`].
    write create_row = create::create(new: NewChat, now: Timestamp, key: Option<Idempotency<Created>>) -> Accepted<Created>;
    /// Runs one transaction on a chat; announced by [`Store::commit`].
    write commit_row = commit::commit(commit: Commit) -> Accepted<Committed>;
    /// Archives a family; announced by [`Store::set_archived`].
    write archive_rows = commit::set_archived(root: ChatId, archived: bool, now: Timestamp) -> Vec<Committed>;
    /// One chat.
    read pub chat = chats::get(id: ChatId) -> ChatRecord;
    /// Root chats in list order.
    read pub list_chats = chats::list(filter: ListFilter) -> Vec<ListedChat>;
    /// Sub-agent chats of some roots.
    read pub children = chats::children(roots: Vec<ChatId>, archived: bool) -> Vec<ListedChat>;
    /// Changes metadata.
    write pub patch_chat = chats::patch(id: ChatId, patch: MetaPatch) -> ChatRecord;
    /// Moves the owner's read cursor to the newest assistant message.
    write pub mark_read = chats::mark_read(id: ChatId) -> ();
    /// Sets the digest of the last turn unless history has moved on.
    write pub set_summary = chats::set_summary(id: ChatId, history: i64, summary: Option<String>) -> bool;
    /// Snapshot versions of many chats.
    read pub snapshots = chats::snapshots(ids: Vec<ChatId>) -> Vec<(ChatId, i64)>;
    /// Chats by status.
    read pub count_by_status = chats::count_by_status() -> Vec<(String, i64)>;
    /// Owner of a chat, and that it exists.
    read pub chat_owner = chats::owner(id: ChatId) -> (UserId, Timestamp);
    /// A page of client-visible messages, and whether more follow.
    read pub message_page = messages::page(chat: ChatId, page: PageSpec) -> (Vec<MessageRow>, bool);
    /// One message that is not deleted.
    read pub message = messages::get(chat: ChatId, id: MessageId) -> MessageRow;
    /// The active history.
    read pub history = messages::history(chat: ChatId) -> Vec<MessageRow>;
    /// The queue in processing order.
    read pub queue = messages::queue(chat: ChatId) -> Vec<QueuedRow>;
    /// The consistent read from which subscribers are brought up to date.
    snapshot pub stream_read = stream::read(chat: ChatId, since: Option<Versions>, joins: Vec<JoinFrom>) -> (Head, Option<StreamRead>, Vec<StreamRead>);
    /// What a pass of a generation starts from.
    snapshot pub turn = stream::turn(chat: ChatId) -> (ChatRecord, Vec<MessageRow>);
    /// Pending client-side calls.
    snapshot pub pending_calls = stream::pending(chat: ChatId) -> Vec<PendingCall>;
    /// Open calls of committed history.
    read pub open_calls = stream::open(chat: ChatId) -> Vec<PendingCall>;
    /// Removes heartbeats that ended before the moment.
    write pub sweep_beats = leases::sweep_beats(older_than: Timestamp) -> usize;
    /// Removes the leases of a worker that leaves.
    write pub drop_beats = leases::drop_beats(worker: WorkerId) -> usize;
    /// Renews leases, on a connection of its own.
    beat pub beat = leases::beat(worker: WorkerId, owned: Vec<(ChatId, RunnerId)>, now: Timestamp) -> ();
    /// Enters a replica, or renews its entry.
    beat pub beat_replica = replicas::beat(id: WorkerId, relay_url: String, now: Timestamp) -> ();
    /// Removes a replica that leaves.
    write pub drop_replica = replicas::remove(id: WorkerId) -> ();
    /// Removes replicas that have been silent for this long.
    write pub sweep_replicas = replicas::sweep(silence: Duration, now: Timestamp) -> usize;
    /// Where a replica is reached by others, if it is known.
    read pub replica_address = replicas::address(id: WorkerId) -> Option<String>;
    /// The moment by which deadlines are judged: the database's clock.
    read pub database_now = clock::now(now: Timestamp) -> Timestamp;
    /// The default organization, made if there is none.
    write pub default_organization = accounts::default_organization(now: Timestamp) -> OrganizationRecord;
    /// Makes a user in the default organization.
    write pub create_user = accounts::create_user(user: UserRecord, now: Timestamp) -> UserRecord;
    /// Every user.
    read pub list_users = accounts::list_users() -> Vec<UserRecord>;
    /// A user by login name.
    read pub user_by_name = accounts::user_by_name(username: String) -> UserRecord;
    /// A user by id.
    read pub user = accounts::user(id: UserId) -> UserRecord;
    /// Suspends a user or lets them in again.
    write pub set_suspended = accounts::set_suspended(username: String, suspended: bool, now: Timestamp) -> UserRecord;
    /// The organizations of a user.
    read pub organizations_of = accounts::organizations_of(user: UserId) -> Vec<OrganizationRecord>;
    /// Stores a token.
    write pub create_token = accounts::create_token(token: TokenRecord) -> ();
    /// A token with its user.
    read pub token = accounts::token(id: String) -> Option<(TokenRecord, UserRecord)>;
    /// Every token.
    read pub list_tokens = accounts::list_tokens() -> Vec<(TokenRecord, UserRecord)>;
    /// Removes a token.
    write pub revoke_token = accounts::revoke_token(id: String) -> bool;
    /// Forgets old idempotency keys.
    write pub sweep_idempotency = accounts::sweep_idempotency(older_than: Timestamp) -> usize;
    /// A value of the deployment that is made once and kept.
    write pub deployment_value = accounts::deployment_value(key: String, fresh: String) -> String;
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
