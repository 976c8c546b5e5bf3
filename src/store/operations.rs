//! The table of operations: each is one line, the same for both engines, here or in a file of its
//! family below `operations/`.

use super::{
    Store,
    claimer::{Offer, Taken},
    commit::{Accepted, Commit, Committed, Created, Idempotency},
    engine::Engine,
    error::{Error, Result},
    files::FileRecord,
    postgres::{self, detached},
    records::{
        ChatRecord, Head, IdleRoots, JoinFrom, MessageRow, MetaPatch, NewChat, PageSpec, PendingCall,
        QueuedRow, StreamRead, TurnRead,
        debug::{DebugRun, DebugStep, RunKind, RunStatus, StepEnd},
        journal::{Batch, Entry, NewEntry},
        mcp::{McpGrant, McpSecrets, McpServerRecord, McpTokenRecord},
        skills::{SkillAdded, SkillRecord},
    },
    sealing::Keyring,
    spend::Asked,
    sqlite,
};
use crate::{
    chat::{json::Json, state::Versions},
    clock::Timestamp,
    config::Secret,
    ids::{
        AgentId, BuildId, ChatId, FileId, McpServerId, MessageId, ModelConfigId, RunnerId, UserId, WorkerId,
        WorkspaceId,
    },
    metrics,
};
use diesel_async::{AsyncConnection, TransactionManager};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Tries of a PostgreSQL transaction that met another one.
pub(super) const TRIES: usize = 4;

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
            let result: Result<_> = $s.answer(async { $q }).await;
            match result {
                Err(e) if e.is_lost_connection() && tries < $s.tries() => {
                    tracing::debug!(error = %e, "a pooled connection was closed");
                    drop(deadpool_take(object));
                }
                Err(Error::Silent) => {
                    drop(deadpool_take(object));
                    break Err(Error::Silent);
                }
                other => break other,
            }
        }
    }};
    (@pg snapshot $s:ident, $c:ident => $q:expr) => { operations!(@tx $s, $c, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" => $q) };
    // A write that no other work may hold up.
    (@pg beat $s:ident, $c:ident => $q:expr) => {{
        let lifeline = $s.for_beats();
        operations!(@tx lifeline, $c, "BEGIN ISOLATION LEVEL READ COMMITTED" => $q)
    }};
    // Whatever the server's default is: what is read again under a lock has to be the newest.
    (@pg write $s:ident, $c:ident => $q:expr) => { operations!(@tx $s, $c, "BEGIN ISOLATION LEVEL READ COMMITTED" => $q) };
    (@tx $s:ident, $c:ident, $begin:literal => $q:expr) => {{
        type Tm = <postgres::Conn as AsyncConnection>::TransactionManager;
        let started = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let mut object = $s.connection().await?;
            let $c = &mut *object;
            // A closed connection shows here, before anything was done: another one is safe.
            if let Err(e) = $s.answer(Tm::begin_transaction_sql($c, $begin)).await {
                drop(deadpool_take(object));
                if tries < $s.tries() && !matches!(e, Error::Silent) { continue; }
                break Err(e);
            }
            let result: Result<_> = $s.answer(async { $q }).await;
            let conn = &mut *object;
            match result {
                Ok(done) => {
                    // The pool does not take a connection back whose COMMIT has got no answer.
                    let committed = $s.answer(<Tm as TransactionManager<postgres::Conn>>::commit_transaction(conn)).await;
                    ::metrics::histogram!(metrics::COMMIT_SECONDS).record(started.elapsed().as_secs_f64());
                    break committed.map(|()| done);
                }
                Err(e) => {
                    let silent = matches!(e, Error::Silent);
                    if silent || $s.answer(<Tm as TransactionManager<postgres::Conn>>::rollback_transaction(conn)).await.is_err() {
                        drop(deadpool_take(object));
                    }
                    // A deadlock undid all of it, and so did a collision of two first uses of one key.
                    let again = if e.is_lost_connection() { $s.tries() } else { TRIES };
                    if tries < again && (e.is_worth_another_try() || is_collision(&e)) {
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

/// A write that may claim its chat on an offer. Whoever drives the chat is told as soon as the
/// transaction is durable, whatever became of the caller.
macro_rules! accepting {
    ($($(#[$doc:meta])* $name:ident = $module:ident :: $query:ident ( $($arg:ident : $ty:ty),* ) -> $out:ty, $then:path;)*) => {
        impl Store { $(
            $(#[$doc])*
            pub(super) async fn $name(&self, $($arg: $ty,)* offer: Option<Offer>) -> Result<$out> {
                let owner = offer.as_ref().map(|o| o.owner);
                match &self.engine {
                    Engine::Pg(s) => {
                        let s = s.clone();
                        let runtime = s.runtime.clone();
                        detached(&runtime, async move {
                            let done: Result<$out> = operations!(@pg write s, conn => {
                                $(let $arg = $arg.clone();)*
                                postgres::queries::$module::$query(conn, $($arg,)* owner).await
                            });
                            done.inspect(|done| $then(done, offer))
                        }).await
                    }
                    Engine::Sqlite(s) => s.write_then(
                        move |conn| sqlite::now(sqlite::queries::$module::$query(conn, $($arg,)* owner)),
                        move |done| $then(done, offer),
                    ).await,
                }
            }
        )* }
    };
}

/// Takes a connection out of its pool, which makes another one.
// Families of operations in files of their own; they see the macros above.
mod keys;
mod models;

pub(super) fn deadpool_take(
    object: diesel_async::pooled_connection::deadpool::Object<diesel_async::AsyncPgConnection>,
) -> diesel_async::AsyncPgConnection {
    diesel_async::pooled_connection::deadpool::Object::take(object)
}

/// Whether two transactions wrote the same unique key.
pub(super) fn is_collision(e: &Error) -> bool {
    use diesel::result::{DatabaseErrorKind, Error as D};
    matches!(e, Error::Database(D::DatabaseError(DatabaseErrorKind::UniqueViolation, _)))
}

mod lists;
mod people;
pub(super) mod spend;
mod workspaces;

accepting! {
    /// Creates a chat; announced by [`Store::create_chat`].
    create_row = create::create(new: NewChat, now: Timestamp, key: Option<Idempotency<Created>>, asked: Option<Asked>) -> Accepted<Created>, Taken::created;
    /// Runs one transaction on a chat; announced by [`Store::commit`].
    commit_row = commit::commit(commit: Commit) -> Accepted<Committed>, Taken::moved;
}

operations! {
    /// Archives a family; announced by [`Store::set_archived`].
    write pub(super) archive_rows = commit::set_archived(root: ChatId, archived: bool, now: Timestamp) -> Vec<Committed>;
    /// One chat.
    read pub chat = chats::get(id: ChatId) -> ChatRecord;
    /// Changes metadata.
    write pub patch_chat = chats::patch(id: ChatId, patch: MetaPatch) -> ChatRecord;
    /// Notes which build and agent of its workspace a chat uses.
    write pub bind_agent = chats::bind_agent(id: ChatId, workspace: WorkspaceId, build: BuildId, agent: Option<AgentId>) -> ();
    /// Notes what a workspace said of its project, as the chat shows it. Moves no version.
    write pub set_injected_context = chats::set_injected_context(id: ChatId, parts: Json) -> ();
    /// Moves the owner's read cursor to the newest assistant message.
    write pub mark_read = chats::mark_read(id: ChatId) -> ();
    /// Replaces a title unless somebody else has. Moves no version.
    write pub retitle = chats::retitle(id: ChatId, from: String, to: String) -> bool;
    /// Snapshot versions of many chats.
    read pub snapshots = chats::snapshots(ids: Vec<ChatId>) -> Vec<(ChatId, i64)>;
    /// Owner of a chat, and that it exists.
    read pub chat_owner = chats::owner(id: ChatId) -> (UserId, Timestamp);
    /// A page of client-visible messages, and whether more follow.
    read pub message_page = messages::page(chat: ChatId, page: PageSpec) -> (Vec<MessageRow>, bool);
    /// Past text prompts of a chat, newest first.
    read pub prompts = messages::prompts(chat: ChatId, limit: i64) -> Vec<(MessageId, String)>;
    /// One message that is not deleted.
    read pub message = messages::get(chat: ChatId, id: MessageId) -> MessageRow;
    /// The active history, however long.
    #[cfg(test)]
    read pub history = messages::history(chat: ChatId) -> Vec<MessageRow>;
    /// The queue in processing order.
    read pub queue = messages::queue(chat: ChatId) -> Vec<QueuedRow>;
    /// The consistent read from which subscribers are brought up to date.
    snapshot pub stream_read = stream::read(chat: ChatId, since: Option<Versions>, joins: Vec<JoinFrom>) -> (Head, Option<StreamRead>, Vec<StreamRead>);
    /// What a pass of a generation starts from.
    snapshot pub turn = turn::turn(chat: ChatId) -> TurnRead;
    /// Whether a compaction has something to do.
    read pub compactable = turn::compactable(chat: ChatId) -> bool;
    /// Pending client-side calls.
    snapshot pub pending_calls = stream::pending(chat: ChatId) -> Vec<PendingCall>;
    /// Open calls of committed history.
    read pub open_calls = stream::open(chat: ChatId) -> Vec<PendingCall>;
    /// Removes heartbeats that ended before the moment.
    write pub sweep_beats = leases::sweep_beats(older_than: Timestamp) -> usize;
    /// Removes the leases of a worker that leaves.
    write pub drop_beats = leases::drop_beats(worker: WorkerId) -> usize;
    /// How many chats there are by status, whether something is queued, and whether they are archived.
    read pub chat_states = check::states() -> Vec<(String, bool, bool, i64)>;
    /// Some chats in such a state.
    read pub chats_in_state = check::in_state(status: String, queued: bool, archived: bool, limit: i64) -> Vec<ChatId>;
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
    /// The stored answer of an idempotency key, if it was used for this request.
    read pub replayed = accounts::replayed(user: UserId, key: String, request_hash: Vec<u8>) -> Option<(u16, Json)>;
    /// Begins an upload; nobody sees the file yet.
    write pub begin_file = files::begin(file: FileRecord) -> ();
    /// Stores a chunk of an upload.
    write pub put_chunk = files::put_chunk(file: FileId, seq: i64, data: Vec<u8>) -> ();
    /// Ends an upload: the file is there.
    write pub finish_file = files::finish(file: FileId, mime_type: String, size_bytes: i64, sha256: Vec<u8>) -> ();
    /// Stores a whole file and links it to a chat.
    write pub attach_file = files::attach(chat: ChatId, file: FileRecord, chunks: Vec<Vec<u8>>, now: Timestamp) -> ();
    /// Removes a file that no chat names.
    write pub discard_file = files::discard(file: FileId) -> ();
    /// A complete file.
    read pub file = files::get(file: FileId) -> FileRecord;
    /// The complete ones of some files, in no order.
    read pub files = files::some(ids: Vec<FileId>) -> Vec<FileRecord>;
    /// A chunk of a file; `None` after the last one.
    read pub file_chunk = files::chunk(file: FileId, seq: i64) -> Option<Vec<u8>>;
    /// The files a chat names.
    read pub files_of_chat = files::of_chat(chat: ChatId) -> Vec<FileRecord>;
    /// Files with all their bytes; those that are gone are left out.
    read pub load_files = files::load(ids: Vec<FileId>) -> Vec<(FileId, Vec<u8>)>;
    /// Removes uploads that no message named. Returns how many, at most `limit`.
    write pub sweep_files = files::sweep(older_than: Timestamp, limit: i64) -> usize;
    /// Forgets old idempotency keys.
    write pub sweep_idempotency = accounts::sweep_idempotency(older_than: Timestamp) -> usize;
    /// A value of the deployment that is made once and kept.
    write pub deployment_value = accounts::deployment_value(key: String, fresh: String) -> String;
    /// Every setting of the deployment that was set.
    read pub deployment_settings = settings::deployment() -> Vec<(String, Json)>;
    /// Sets a setting of the deployment.
    write pub put_setting = settings::put(key: String, value: Json, now: Timestamp) -> ();
    /// Takes a setting of the deployment back to its default.
    write pub drop_setting = settings::remove(key: String) -> ();
    /// Everything a user has set.
    read pub user_settings = settings::of_user(user: UserId) -> (Vec<(String, Json)>, Vec<(ModelConfigId, i64)>);
    /// Sets a setting of a user.
    write pub put_user_setting = settings::put_of_user(user: UserId, key: String, value: Json) -> ();
    /// Sets a user's compaction threshold for a model, in percent.
    write pub put_threshold = settings::put_threshold(user: UserId, model: ModelConfigId, percent: i64) -> ();
    /// Removes one; false when there was none.
    write pub drop_threshold = settings::remove_threshold(user: UserId, model: ModelConfigId) -> bool;
    /// Root chats at rest whose families had no message since the moment, oldest first.
    read pub idle_roots = retention::idle_roots(since: Timestamp, after: Option<ChatId>, window: i64) -> IdleRoots;
    /// Archives a family that still had no message since the moment; announced by [`Store::archive_idle`].
    write pub(super) archive_idle_rows = commit::archive_idle(root: ChatId, since: Timestamp, now: Timestamp) -> Vec<Committed>;
    /// Root chats that were archived before the moment, the longest ago first.
    read pub expired_roots = retention::expired_roots(before: Timestamp, limit: i64) -> Vec<ChatId>;
    /// Deletes a family that was archived before the moment, with the files that no other chat names.
    /// Returns how many chats that were: none when it was brought back or is at work.
    write pub purge_family = retention::purge(root: ChatId, before: Timestamp) -> usize;
    /// Every tool server by name.
    read pub mcp_servers = mcp::list() -> Vec<McpServerRecord>;
    /// A tool server.
    read pub mcp_server = mcp::get(id: McpServerId) -> McpServerRecord;
    /// Makes a tool server; announced by [`Store::create_mcp_server`].
    write pub(super) create_mcp_server_row = mcp::create(keys: Keyring, server: McpServerRecord, secrets: McpSecrets) -> McpServerRecord;
    /// Changes a tool server; announced by [`Store::change_mcp_server`].
    write pub(super) change_mcp_server_row = mcp::change(keys: Keyring, server: McpServerRecord, secrets: McpSecrets, seen: Timestamp, drop_tokens: bool) -> McpServerRecord;
    /// Removes a tool server; announced by [`Store::delete_mcp_server`].
    write pub(super) delete_mcp_server_row = mcp::remove(id: McpServerId) -> ();
    /// Brings declared tool servers in step; announced by [`Store::sync_mcp_servers`].
    write pub(super) sync_mcp_server_rows = mcp::sync_declared(keys: Keyring, declared: Vec<(McpServerRecord, McpSecrets)>, now: Timestamp) -> bool;
    /// Writes down a discovered client; see [`Store::set_mcp_client`].
    write pub(super) set_mcp_client_row = mcp::set_client(keys: Keyring, server: McpServerRecord, secret: Option<Secret>, now: Timestamp) -> McpServerRecord;
    /// The tokens of a user for tool servers.
    read pub mcp_tokens = mcp::tokens(user: UserId) -> Vec<McpTokenRecord>;
    /// The token of a user for a tool server.
    read pub mcp_token = mcp::token(server: McpServerId, user: UserId) -> Option<McpTokenRecord>;
    /// Stores a token; see [`Store::put_mcp_token`].
    write pub(super) put_mcp_token_row = mcp::put_token(keys: Keyring, server: McpServerId, seen: Timestamp, user: UserId, grant: McpGrant, now: Timestamp) -> ();
    /// Stores a refreshed token; see [`Store::renew_mcp_token`].
    write pub(super) renew_mcp_token_row = mcp::renew_token(keys: Keyring, old: McpTokenRecord, grant: McpGrant, now: Timestamp) -> bool;
    /// Removes the token of a user for a tool server; whether there was one.
    write pub delete_mcp_token = mcp::remove_token(server: McpServerId, user: UserId) -> bool;
    /// Enters tool calls that are about to start and must not start twice; those that were entered before.
    write pub begin_calls = journal::begin(batch: Batch, calls: Vec<NewEntry>, now: Timestamp) -> Vec<Entry>;
    /// Keeps what came of one of them.
    write pub end_call = journal::end(batch: Batch, tool_call_id: String, outcome: Json) -> ();
    /// The newest debug runs of a chat, newest first.
    read pub debug_runs = debug::runs(chat: ChatId) -> Vec<DebugRun>;
    /// A debug run of a chat with its steps.
    snapshot pub debug_run = debug::run(chat: ChatId, run: Uuid) -> (DebugRun, Vec<DebugStep>);
    /// Begins a step of a debug run, which is made if none goes on.
    write pub begin_debug_step = debug::begin_step(run: DebugRun, step: DebugStep) -> ();
    /// Ends a step of a debug run.
    write pub end_debug_step = debug::end_step(end: StepEnd) -> ();
    /// Ends the debug runs of a chat that go on.
    write pub end_debug_runs = debug::end_runs(chat: ChatId, kinds: Vec<RunKind>, status: RunStatus, at: Timestamp) -> ();
    /// Ends debug runs that nobody has touched; how many, at most `limit`.
    write pub sweep_stale_debug = debug::sweep_stale(before: Timestamp, limit: i64, now: Timestamp) -> usize;
    /// Removes old debug runs; how many, at most `limit`.
    write pub sweep_old_debug = debug::sweep_old(before: Timestamp, limit: i64) -> usize;
    /// Removes the debug runs of a history that an edit has ended.
    write pub forget_debug_runs = debug::forget_edited(chat: ChatId, edited: MessageId, before: Timestamp) -> usize;
    /// The skills of a user by name, without their content.
    read pub skills = skills::list(user: UserId) -> Vec<SkillRecord>;
    /// A skill of a user with its content.
    read pub skill = skills::get(user: UserId, name: String) -> SkillRecord;
    /// Makes a skill; a user has at most `max`.
    write pub add_skill = skills::add(skill: SkillRecord, max: i64) -> SkillAdded;
    /// Replaces the content of a skill.
    write pub change_skill = skills::change(user: UserId, name: String, description: String, content: String, now: Timestamp) -> SkillRecord;
    /// Removes a skill.
    write pub remove_skill = skills::remove(user: UserId, name: String) -> ();
}
