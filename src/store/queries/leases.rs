//! Claims, heartbeats, replicas.

use super::{Conn, commit, divergent};
use crate::{
    chat::{command::Command, state::Owner, step},
    clock::Timestamp,
    ids::{ChatId, RunnerId, WorkerId},
    store::{
        commit::{Along, Lease},
        error::Result,
        records::Claimed,
        schema::chat_heartbeats,
        types::{Id, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::time::Duration;

/// Limits of a claim.
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

/// Tells of a runner whether it drives its chat in this process.
pub type Driven<'a> = &'a (dyn Fn(ChatId, RunnerId) -> bool + Send + Sync);

/// Claims runnable chats that nobody drives, oldest `updated_at` first.
pub async fn claim(conn: &mut Conn, spec: ClaimSpec, driven: Driven<'_>) -> Result<Vec<Claimed>> {
    let ids = divergent::claimable(conn, &spec, driven).await?;
    let mut claimed = Vec::with_capacity(ids.len());
    for id in ids {
        let locked = commit::lock(conn, id).await?;
        let row = locked.row.clone();
        let takeover = row.owner().is_some();
        let owner = Owner { worker: spec.worker, runner: RunnerId::fresh() };
        let commands = [Command::Acquire(owner)];
        let chat = commit::facts(conn, locked, &commands).await?;
        let Ok(plan) = step::step_many(&chat, &commands, spec.now) else {
            // Between the search and the lock the chat moved on, or it is invalid: not ours.
            continue;
        };
        let along = Along { lease: Lease::of(&commands), ..Along::default() };
        let done = commit::write(conn, &chat, row, plan, &along, spec.now).await?;
        claimed.push(Claimed { head: done.head, takeover });
    }
    Ok(claimed)
}

/// Renews the leases of every owned chat in one statement (row by row on SQLite).
pub async fn beat(
    conn: &mut Conn,
    worker: WorkerId,
    owned: Vec<(ChatId, RunnerId)>,
    now: Timestamp,
) -> Result<()> {
    divergent::beat(conn, worker, &owned, now).await
}

/// Removes heartbeats that ended long ago.
pub async fn sweep_beats(conn: &mut Conn, older_than: Timestamp) -> Result<usize> {
    Ok(diesel::delete(chat_heartbeats::table.filter(chat_heartbeats::beat_at.lt(Ts(older_than))))
        .execute(conn)
        .await?)
}

/// Removes the leases of a worker that leaves.
pub async fn drop_beats(conn: &mut Conn, worker: WorkerId) -> Result<usize> {
    Ok(diesel::delete(chat_heartbeats::table.filter(chat_heartbeats::worker_id.eq(Id(worker.0))))
        .execute(conn)
        .await?)
}
