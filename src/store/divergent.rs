//! The statements that must differ between the engines, both texts side by side.

/// PostgreSQL: leases are compared with the database's clock, never a replica's.
pub(super) mod pg {
    use crate::{
        chat::state::Owner,
        clock::Timestamp,
        ids::{ChatId, RunnerId, WorkerId},
        store::{
            error::Result,
            postgres::{Conn, queries::leases::ClaimSpec},
            schema::chat_heartbeats,
            types::{Id, sql},
        },
    };
    use diesel::{
        prelude::*,
        sql_types::{Array, BigInt, Nullable, Text},
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
    }

    #[derive(QueryableByName)]
    struct Running {
        #[diesel(sql_type = BigInt)]
        roots: i64,
        #[diesel(sql_type = BigInt)]
        children: i64,
    }

    pub async fn claimable(conn: &mut Conn, spec: &ClaimSpec) -> Result<Vec<ChatId>> {
        let limited = spec.max_running_chats > 0 || spec.max_running_subagents > 0;
        let rows: Vec<Candidate> = diesel::sql_query(
            "SELECT c.id, c.status, c.parent_chat_id FROM chats c \
             LEFT JOIN chat_heartbeats h ON h.chat_id = c.id AND h.runner_id = c.runner_id \
             WHERE c.status IN ('running', 'interrupting', 'requires_action') AND NOT c.archived \
             AND (c.runner_id IS NULL OR h.beat_at IS NULL \
                  OR h.beat_at < clock_timestamp() - $1 * interval '1 microsecond') \
             ORDER BY c.updated_at LIMIT $2 FOR UPDATE OF c SKIP LOCKED",
        )
        .bind::<BigInt, _>(super::micros(spec.lease))
        .bind::<BigInt, _>(if limited { super::LIMITED_SCAN } else { spec.limit })
        .load(conn)
        .await?;
        let running = if limited && !rows.is_empty() {
            let r: Running = diesel::sql_query(
                "SELECT count(*) FILTER (WHERE parent_chat_id IS NULL) AS roots, \
                        count(*) FILTER (WHERE parent_chat_id IS NOT NULL) AS children \
                 FROM chats WHERE status = 'running' AND NOT archived AND runner_id IS NOT NULL",
            )
            .get_result(conn)
            .await?;
            (r.roots, r.children)
        } else {
            (0, 0)
        };
        let rows = rows.into_iter().map(|r| (r.id, r.status, r.parent_chat_id.is_some()));
        Ok(super::within_limits(
            rows,
            running,
            spec.max_running_chats,
            spec.max_running_subagents,
            spec.limit,
        ))
    }

    pub async fn first_beat(conn: &mut Conn, chat: ChatId, owner: Owner, _now: Timestamp) -> Result<()> {
        diesel::sql_query(
            "INSERT INTO chat_heartbeats (chat_id, worker_id, runner_id, beat_at) \
             VALUES ($1, $2, $3, clock_timestamp()) ON CONFLICT (chat_id) DO UPDATE \
             SET worker_id = excluded.worker_id, runner_id = excluded.runner_id, beat_at = excluded.beat_at",
        )
        .bind::<sql::Uid, _>(Id(chat.0))
        .bind::<sql::Uid, _>(Id(owner.worker.0))
        .bind::<sql::Uid, _>(Id(owner.runner.0))
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
        chat::state::Owner,
        clock::Timestamp,
        ids::{ChatId, RunnerId, WorkerId},
        store::{
            error::Result,
            schema::chat_heartbeats,
            sqlite::{Conn, queries::leases::ClaimSpec},
            types::{Id, Ts, sql},
        },
    };
    use diesel::{
        prelude::*,
        sql_types::{BigInt, Nullable, Text},
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
    }

    #[derive(QueryableByName)]
    struct Running {
        #[diesel(sql_type = BigInt)]
        roots: i64,
        #[diesel(sql_type = BigInt)]
        children: i64,
    }

    pub async fn claimable(conn: &mut Conn, spec: &ClaimSpec) -> Result<Vec<ChatId>> {
        let limited = spec.max_running_chats > 0 || spec.max_running_subagents > 0;
        let rows: Vec<Candidate> = diesel::sql_query(
            "SELECT c.id, c.status, c.parent_chat_id FROM chats c \
             LEFT JOIN chat_heartbeats h ON h.chat_id = c.id AND h.runner_id = c.runner_id \
             WHERE c.status IN ('running', 'interrupting', 'requires_action') AND NOT c.archived \
             AND (c.runner_id IS NULL OR h.beat_at IS NULL OR h.beat_at < ?) \
             ORDER BY c.updated_at LIMIT ?",
        )
        .bind::<sql::Moment, _>(Ts(spec.now - spec.lease))
        .bind::<BigInt, _>(if limited { super::LIMITED_SCAN } else { spec.limit })
        .load(conn)
        .await?;
        let running = if limited && !rows.is_empty() {
            let r: Running = diesel::sql_query(
                "SELECT count(*) FILTER (WHERE parent_chat_id IS NULL) AS roots, \
                        count(*) FILTER (WHERE parent_chat_id IS NOT NULL) AS children \
                 FROM chats WHERE status = 'running' AND NOT archived AND runner_id IS NOT NULL",
            )
            .get_result(conn)
            .await?;
            (r.roots, r.children)
        } else {
            (0, 0)
        };
        let rows = rows.into_iter().map(|r| (r.id, r.status, r.parent_chat_id.is_some()));
        Ok(super::within_limits(
            rows,
            running,
            spec.max_running_chats,
            spec.max_running_subagents,
            spec.limit,
        ))
    }

    pub async fn first_beat(conn: &mut Conn, chat: ChatId, owner: Owner, now: Timestamp) -> Result<()> {
        diesel::sql_query(
            "INSERT INTO chat_heartbeats (chat_id, worker_id, runner_id, beat_at) VALUES (?, ?, ?, ?) \
             ON CONFLICT (chat_id) DO UPDATE \
             SET worker_id = excluded.worker_id, runner_id = excluded.runner_id, beat_at = excluded.beat_at",
        )
        .bind::<sql::Uid, _>(Id(chat.0))
        .bind::<sql::Uid, _>(Id(owner.worker.0))
        .bind::<sql::Uid, _>(Id(owner.runner.0))
        .bind::<sql::Moment, _>(Ts(now))
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
        now: Timestamp,
    ) -> Result<()> {
        for (chat, runner) in owned {
            diesel::sql_query(
                "UPDATE chat_heartbeats SET beat_at = ? WHERE chat_id = ? AND runner_id = ? AND worker_id = ?",
            )
            .bind::<sql::Moment, _>(Ts(now))
            .bind::<sql::Uid, _>(Id(chat.0))
            .bind::<sql::Uid, _>(Id(runner.0))
            .bind::<sql::Uid, _>(Id(worker.0))
            .execute(conn)
            .await?;
        }
        Ok(())
    }

    /// The moment by which deadlines are judged.
    pub async fn now(_conn: &mut Conn, now: Timestamp) -> Result<Timestamp> {
        Ok(now)
    }
}

/// Candidates looked at when a deployment-wide limit is set, so that chats over the limit cannot
/// hide others behind them.
const LIMITED_SCAN: i64 = 1000;

fn micros(d: std::time::Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

/// Picks what may be claimed now. Only `running` chats count against the limits: a chat over the
/// limit waits and stays interruptible.
fn within_limits(
    rows: impl Iterator<Item = (super::types::Id, String, bool)>,
    (mut roots, mut children): (i64, i64),
    max_roots: i64,
    max_children: i64,
    limit: i64,
) -> Vec<crate::ids::ChatId> {
    let limit = usize::try_from(limit).unwrap_or(0);
    let mut picked = Vec::new();
    for (id, status, child) in rows {
        if picked.len() == limit {
            break;
        }
        if status == "running" {
            let (count, max) = if child { (&mut children, max_children) } else { (&mut roots, max_roots) };
            if max > 0 && *count >= max {
                continue;
            }
            *count += 1;
        }
        picked.push(crate::ids::ChatId(id.0));
    }
    picked
}
