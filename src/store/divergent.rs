//! The statements that must differ between the engines, both texts side by side.

use crate::ids::{ChatId, RunnerId};

/// PostgreSQL: leases are compared with the database's clock, never a replica's.
pub(super) mod pg {
    use crate::{
        chat::state::Owner,
        clock::Timestamp,
        ids::{ChatId, MessageId, RunnerId, WorkerId},
        store::{
            error::Result,
            postgres::{
                Conn,
                queries::leases::{ClaimSpec, Driven},
                statement::Statement,
            },
            schema::chat_heartbeats,
            types::{Id, sql},
        },
    };
    use diesel::{
        prelude::*,
        sql_types::{Array, BigInt, Bool, Nullable, Text},
    };
    use diesel_async::RunQueryDsl;

    #[derive(QueryableByName)]
    struct Candidate {
        #[diesel(sql_type = sql::Uid)]
        id: Id,
        #[diesel(sql_type = Text)]
        status: String,
        #[diesel(sql_type = Nullable<sql::Uid>)]
        parent_chat_id: Option<Id>,
        #[diesel(sql_type = Nullable<sql::Uid>)]
        runner_id: Option<Id>,
    }

    #[derive(QueryableByName)]
    struct Alive {
        #[diesel(sql_type = sql::Uid)]
        id: Id,
    }

    #[derive(QueryableByName)]
    struct Running {
        #[diesel(sql_type = BigInt)]
        roots: i64,
        #[diesel(sql_type = BigInt)]
        children: i64,
    }

    /// Serialises claims when a limit of the whole deployment has to be counted ("claim" in ASCII).
    const CLAIM_LOCK: i64 = 0x0063_6c61_696d;

    pub async fn claimable(conn: &mut Conn, spec: &ClaimSpec, driven: Driven<'_>) -> Result<Vec<ChatId>> {
        let lease = super::micros(spec.lease);
        let mut free = super::Free::unlimited();
        if spec.max_running_chats > 0 || spec.max_running_subagents > 0 {
            diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
                .bind::<BigInt, _>(CLAIM_LOCK)
                .execute(conn)
                .await?;
            // A statement of its own: its snapshot must be younger than the lock.
            let r: Running = diesel::sql_query(
                "SELECT count(*) FILTER (WHERE c.parent_chat_id IS NULL) AS roots, \
                        count(*) FILTER (WHERE c.parent_chat_id IS NOT NULL) AS children \
                 FROM chats c JOIN chat_heartbeats h ON h.chat_id = c.id AND h.runner_id = c.runner_id \
                 WHERE c.status = 'running' AND NOT c.archived \
                 AND h.beat_at >= clock_timestamp() - $1 * interval '1 microsecond'",
            )
            .bind::<BigInt, _>(lease)
            .get_result(conn)
            .await?;
            free =
                super::Free::beside(r.roots, r.children, spec.max_running_chats, spec.max_running_subagents);
        }
        let mut s = Statement::default();
        s.sql(
            "SELECT c.id, c.status, c.parent_chat_id, c.runner_id FROM chats c \
             LEFT JOIN chat_heartbeats h ON h.chat_id = c.id AND h.runner_id = c.runner_id \
             WHERE c.status IN ('running', 'interrupting', 'requires_action') AND NOT c.archived \
             AND (h.beat_at < clock_timestamp() - ",
        );
        // A crash of the server empties the unlogged table. Whether the owner is gone is then told by its
        // entry as a replica, until its next beat writes the lease anew. What is ours and is not driven here
        // was lost with the answer to a claim: nobody will ever beat for it.
        s.bind::<BigInt, _>(lease).sql(
            " * interval '1 microsecond' OR h.beat_at IS NULL AND NOT EXISTS (SELECT 1 FROM replicas r \
             WHERE r.id = c.worker_id AND r.id <> ",
        );
        s.bind::<sql::Uid, _>(Id(spec.worker.0));
        s.sql(" AND r.beat_at >= clock_timestamp() - ").bind::<BigInt, _>(lease).sql(
            " * interval '1 microsecond')) \
             AND (c.status <> 'running' OR CASE WHEN c.parent_chat_id IS NULL THEN ",
        );
        s.bind::<Bool, _>(free.roots > 0).sql(" ELSE ").bind::<Bool, _>(free.children > 0);
        s.sql(" END) ORDER BY c.updated_at LIMIT ").bind::<BigInt, _>(spec.limit);
        s.sql(" FOR UPDATE OF c SKIP LOCKED");
        let mut rows: Vec<Candidate> = s.load(conn).await?;
        rows.retain(|r| !super::is_driven(driven, r.id, r.runner_id));
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        // A chat that was claimed between the snapshot and the lock is joined with the heartbeat of
        // the snapshot above, and so looks free. Under the lock a younger snapshot tells.
        let mut s = Statement::default();
        s.sql(
            "SELECT c.id FROM chats c JOIN chat_heartbeats h ON h.chat_id = c.id AND h.runner_id = c.runner_id \
             WHERE c.id = ANY(",
        );
        s.bind::<Array<sql::Uid>, _>(rows.iter().map(|r| r.id).collect::<Vec<_>>());
        s.sql(") AND h.beat_at >= clock_timestamp() - ").bind::<BigInt, _>(lease);
        s.sql(" * interval '1 microsecond'");
        let alive: Vec<Alive> = s.load(conn).await?;
        let rows = rows.into_iter().filter(|r| !alive.iter().any(|a| a.id == r.id));
        Ok(free.pick(rows.map(|r| (r.id, r.status, r.parent_chat_id.is_some()))))
    }

    pub async fn first_beat(conn: &mut Conn, chat: ChatId, owner: Owner, _now: Timestamp) -> Result<()> {
        let mut s = Statement::default();
        s.sql("INSERT INTO chat_heartbeats (chat_id, worker_id, runner_id, beat_at) VALUES (");
        s.bind::<sql::Uid, _>(Id(chat.0)).sql(", ").bind::<sql::Uid, _>(Id(owner.worker.0)).sql(", ");
        s.bind::<sql::Uid, _>(Id(owner.runner.0)).sql(
            ", clock_timestamp()) ON CONFLICT (chat_id) DO UPDATE SET worker_id = excluded.worker_id, \
             runner_id = excluded.runner_id, beat_at = excluded.beat_at",
        );
        s.execute(conn).await?;
        Ok(())
    }

    pub use crate::store::postgres::commit::{lock, write};

    /// One writer of providers and models at a time ("model" in ASCII).
    pub async fn lock_models(conn: &mut Conn) -> Result<()> {
        diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
            .bind::<BigInt, _>(0x006d_6f64_656c_i64)
            .execute(conn)
            .await?;
        Ok(())
    }

    /// Serialises what replicas declare of tool servers ("mcp" in ASCII).
    pub async fn lock_mcp_servers(conn: &mut Conn) -> Result<()> {
        diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
            .bind::<BigInt, _>(0x006d_6370_i64)
            .execute(conn)
            .await?;
        Ok(())
    }

    /// Serialises what replicas declare of templates ("tpl" in ASCII).
    pub async fn lock_templates(conn: &mut Conn) -> Result<()> {
        diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
            .bind::<BigInt, _>(0x0074_706c_i64)
            .execute(conn)
            .await?;
        Ok(())
    }

    pub async fn drop_beat(conn: &mut Conn, chat: ChatId) -> Result<()> {
        diesel::delete(chat_heartbeats::table.find(Id(chat.0))).execute(conn).await?;
        Ok(())
    }

    pub async fn beat(
        conn: &mut Conn,
        worker: WorkerId,
        owned: &[(ChatId, RunnerId)],
        _now: Timestamp,
    ) -> Result<()> {
        let (chats, runners): (Vec<Id>, Vec<Id>) = owned.iter().map(|(c, r)| (Id(c.0), Id(r.0))).unzip();
        // Another runner's row stays: whoever took the chat over owns the lease.
        diesel::sql_query(
            "INSERT INTO chat_heartbeats (chat_id, worker_id, runner_id, beat_at) \
             SELECT o.chat, $1, o.runner, clock_timestamp() \
             FROM unnest($2, $3) AS o (chat, runner) \
             JOIN chats c ON c.id = o.chat AND c.runner_id = o.runner ORDER BY o.chat \
             ON CONFLICT (chat_id) DO UPDATE SET beat_at = excluded.beat_at \
             WHERE chat_heartbeats.runner_id = excluded.runner_id",
        )
        .bind::<sql::Uid, _>(Id(worker.0))
        .bind::<Array<sql::Uid>, _>(chats)
        .bind::<Array<sql::Uid>, _>(runners)
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Enters the words of a message for search.
    pub async fn index_words(conn: &mut Conn, message: MessageId, chat: ChatId, words: String) -> Result<()> {
        let mut s = Statement::default();
        s.sql("INSERT INTO chat_search (message_id, root_chat_id, body) SELECT ")
            .bind::<BigInt, _>(message.0);
        s.sql(", c.root_chat_id, to_tsvector('english', ").bind::<Text, _>(words);
        s.sql(") || array_to_tsvector(ARRAY['o' || replace(c.owner_id::text, '-', '')]) FROM chats c WHERE c.id = ");
        s.bind::<sql::Uid, _>(Id(chat.0));
        s.execute(conn).await?;
        Ok(())
    }

    /// Forgets the words of messages.
    pub async fn forget_words(conn: &mut Conn, messages: &[i64]) -> Result<()> {
        let mut s = Statement::default();
        s.sql("DELETE FROM chat_search WHERE message_id = ANY(").bind::<Array<BigInt>, _>(messages.to_vec());
        s.sql(")");
        s.execute(conn).await?;
        Ok(())
    }

    /// The moment by which deadlines are judged.
    pub async fn now(conn: &mut Conn, _now: Timestamp) -> Result<Timestamp> {
        #[derive(QueryableByName)]
        struct Now {
            #[diesel(sql_type = sql::Moment)]
            now: crate::store::types::Ts,
        }
        let row: Now = diesel::sql_query("SELECT clock_timestamp() AS now").get_result(conn).await?;
        Ok(row.now.0)
    }
}

/// SQLite: one process, so the process's clock is the database's clock.
pub(super) mod lite {
    use crate::{
        chat::{plan::Plan, state::Owner},
        clock::Timestamp,
        ids::{ChatId, MessageId, RunnerId, WorkerId},
        store::{
            commit::{Along, Locked, Written},
            error::Result,
            schema::chat_heartbeats,
            sqlite::{
                Conn, Statement,
                queries::leases::{ClaimSpec, Driven},
            },
            types::{Id, Ts, sql},
        },
    };
    use diesel::{
        prelude::*,
        sql_types::{BigInt, Bool, Nullable, Text},
    };
    use diesel_async::RunQueryDsl;

    #[derive(QueryableByName)]
    struct Candidate {
        #[diesel(sql_type = sql::Uid)]
        id: Id,
        #[diesel(sql_type = Text)]
        status: String,
        #[diesel(sql_type = Nullable<sql::Uid>)]
        parent_chat_id: Option<Id>,
        #[diesel(sql_type = Nullable<sql::Uid>)]
        runner_id: Option<Id>,
    }

    #[derive(QueryableByName)]
    struct Running {
        #[diesel(sql_type = BigInt)]
        roots: i64,
        #[diesel(sql_type = BigInt)]
        children: i64,
    }

    pub async fn claimable(conn: &mut Conn, spec: &ClaimSpec, driven: Driven<'_>) -> Result<Vec<ChatId>> {
        let dead = Ts(spec.now - spec.lease);
        let mut free = super::Free::unlimited();
        if spec.max_running_chats > 0 || spec.max_running_subagents > 0 {
            // The IN says nothing new; it lets the partial index be used.
            let r: Running = diesel::sql_query(
                "SELECT count(*) FILTER (WHERE c.parent_chat_id IS NULL) AS roots, \
                        count(*) FILTER (WHERE c.parent_chat_id IS NOT NULL) AS children \
                 FROM chats c JOIN chat_heartbeats h ON h.chat_id = c.id AND h.runner_id = c.runner_id \
                 WHERE c.status IN ('running', 'interrupting', 'requires_action') \
                 AND c.status = 'running' AND NOT c.archived AND h.beat_at >= ?",
            )
            .bind::<sql::Moment, _>(dead)
            .get_result(conn)
            .await?;
            free =
                super::Free::beside(r.roots, r.children, spec.max_running_chats, spec.max_running_subagents);
        }
        let mut rows: Vec<Candidate> = diesel::sql_query(CLAIMABLE)
            .bind::<sql::Moment, _>(dead)
            .bind::<Bool, _>(free.roots > 0)
            .bind::<Bool, _>(free.children > 0)
            .bind::<BigInt, _>(spec.limit)
            .load(conn)
            .await?;
        rows.retain(|r| !super::is_driven(driven, r.id, r.runner_id));
        Ok(free.pick(rows.into_iter().map(|r| (r.id, r.status, r.parent_chat_id.is_some()))))
    }

    /// Tests look at its plan.
    pub(in crate::store) const CLAIMABLE: &str = "SELECT c.id, c.status, c.parent_chat_id, c.runner_id FROM chats c \
         LEFT JOIN chat_heartbeats h ON h.chat_id = c.id AND h.runner_id = c.runner_id \
         WHERE c.status IN ('running', 'interrupting', 'requires_action') AND NOT c.archived \
         AND (h.beat_at IS NULL OR h.beat_at < ?) \
         AND (c.status <> 'running' OR CASE WHEN c.parent_chat_id IS NULL THEN ? ELSE ? END) \
         ORDER BY c.updated_at LIMIT ?";

    pub async fn first_beat(conn: &mut Conn, chat: ChatId, owner: Owner, now: Timestamp) -> Result<()> {
        let mut s = Statement::default();
        s.sql("INSERT INTO chat_heartbeats (chat_id, worker_id, runner_id, beat_at) VALUES (");
        s.bind::<sql::Uid, _>(Id(chat.0)).sql(", ").bind::<sql::Uid, _>(Id(owner.worker.0)).sql(", ");
        s.bind::<sql::Uid, _>(Id(owner.runner.0)).sql(", ").bind::<sql::Moment, _>(Ts(now)).sql(
            ") ON CONFLICT (chat_id) DO UPDATE SET worker_id = excluded.worker_id, \
             runner_id = excluded.runner_id, beat_at = excluded.beat_at",
        );
        s.execute(conn).await?;
        Ok(())
    }

    /// The plain statement does: nothing is saved by fewer statements without a network.
    pub async fn lock(_: &mut Conn, _: ChatId) -> Result<Option<Locked>> {
        Ok(None)
    }

    /// As [`lock`].
    pub async fn write(
        _: &mut Conn,
        _: ChatId,
        _: &Plan,
        _: &Along,
        _: Timestamp,
    ) -> Result<Option<Written>> {
        Ok(None)
    }

    /// There is one writer anyway.
    pub async fn lock_models(_: &mut Conn) -> Result<()> {
        Ok(())
    }

    pub async fn lock_mcp_servers(_: &mut Conn) -> Result<()> {
        Ok(())
    }

    pub async fn lock_templates(_: &mut Conn) -> Result<()> {
        Ok(())
    }

    pub async fn drop_beat(conn: &mut Conn, chat: ChatId) -> Result<()> {
        diesel::delete(chat_heartbeats::table.find(Id(chat.0))).execute(conn).await?;
        Ok(())
    }

    pub async fn beat(
        conn: &mut Conn,
        worker: WorkerId,
        owned: &[(ChatId, RunnerId)],
        now: Timestamp,
    ) -> Result<()> {
        for (chat, runner) in owned {
            diesel::update(
                chat_heartbeats::table
                    .find(Id(chat.0))
                    .filter(chat_heartbeats::runner_id.eq(Id(runner.0)))
                    .filter(chat_heartbeats::worker_id.eq(Id(worker.0))),
            )
            .set(chat_heartbeats::beat_at.eq(Ts(now)))
            .execute(conn)
            .await?;
        }
        Ok(())
    }

    /// Enters the words of a message for search.
    pub async fn index_words(conn: &mut Conn, message: MessageId, chat: ChatId, words: String) -> Result<()> {
        let mut s = Statement::default();
        s.sql("INSERT INTO chat_search (rowid, owner, body) SELECT ").bind::<BigInt, _>(message.0);
        s.sql(", lower(hex(owner_id)), ").bind::<Text, _>(words);
        s.sql(" FROM chats WHERE id = ").bind::<sql::Uid, _>(Id(chat.0));
        s.execute(conn).await?;
        Ok(())
    }

    /// Forgets the words of messages. Those that were not entered are no error.
    pub async fn forget_words(conn: &mut Conn, messages: &[i64]) -> Result<()> {
        for id in messages {
            let mut s = Statement::default();
            s.sql("DELETE FROM chat_search WHERE rowid = ").bind::<BigInt, _>(*id);
            s.execute(conn).await?;
        }
        Ok(())
    }

    /// The moment by which deadlines are judged.
    pub async fn now(_conn: &mut Conn, now: Timestamp) -> Result<Timestamp> {
        Ok(now)
    }
}

/// Whether a chat that looks free is driven in this process.
fn is_driven(
    driven: &(dyn Fn(ChatId, RunnerId) -> bool + Send + Sync),
    chat: super::types::Id,
    runner: Option<super::types::Id>,
) -> bool {
    runner.is_some_and(|runner| driven(ChatId(chat.0), RunnerId(runner.0)))
}

fn micros(d: std::time::Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

/// How many more chats may run. Only `running` chats with a live owner count: a chat over the limit
/// waits and stays interruptible, and one whose owner died must not stand in its own way.
#[derive(Clone, Copy)]
struct Free {
    roots: i64,
    children: i64,
}

impl Free {
    const fn unlimited() -> Self {
        Self { roots: i64::MAX, children: i64::MAX }
    }

    const fn beside(roots: i64, children: i64, max_roots: i64, max_children: i64) -> Self {
        Self {
            roots: if max_roots > 0 { max_roots - roots } else { i64::MAX },
            children: if max_children > 0 { max_children - children } else { i64::MAX },
        }
    }

    fn pick(mut self, rows: impl Iterator<Item = (super::types::Id, String, bool)>) -> Vec<ChatId> {
        rows.filter(|(_, status, child)| {
            let free = if *child { &mut self.children } else { &mut self.roots };
            status != "running" || std::mem::replace(free, *free - 1) > 0
        })
        .map(|(id, ..)| ChatId(id.0))
        .collect()
    }
}
