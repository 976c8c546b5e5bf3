//! Agents of workspaces, and which replica holds the link of each.

use super::Conn;
use crate::{
    clock::Timestamp,
    ids::{AgentId, WorkerId, WorkspaceId},
    store::{
        error::{Error, Result},
        records::workspaces::{AgentFacts, AgentRecord},
        schema::{workspace_agents, workspace_builds, workspaces},
        types::{Id, Ts},
        workspace_rows::AgentRow,
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

/// One agent.
pub async fn get(conn: &mut Conn, id: AgentId) -> Result<AgentRecord> {
    let row: AgentRow =
        workspace_agents::table.find(Id(id.0)).select(AgentRow::as_select()).first(conn).await?;
    Ok(row.into())
}

/// The workspace of an agent.
pub async fn workspace(conn: &mut Conn, id: AgentId) -> Result<WorkspaceId> {
    let build: Id =
        workspace_agents::table.find(Id(id.0)).select(workspace_agents::build_id).first(conn).await?;
    let found: Id =
        workspace_builds::table.find(build).select(workspace_builds::workspace_id).first(conn).await?;
    Ok(WorkspaceId(found.0))
}

/// The agent whose token this is, as long as its build is the workspace's newest and does not end it.
pub async fn by_token(conn: &mut Conn, hash: Vec<u8>) -> Result<AgentRecord> {
    let row: AgentRow = workspace_agents::table
        .filter(workspace_agents::token_hash.eq(hash))
        .select(AgentRow::as_select())
        .first(conn)
        .await?;
    let newest: Option<Id> = workspaces::table
        .filter(workspaces::latest_build_id.eq(row.build_id))
        .select(workspaces::id)
        .first(conn)
        .await
        .optional()?;
    if newest.is_none() { Err(Error::NotFound) } else { Ok(row.into()) }
}

/// Gives an agent another token; the earlier one is of no more use, nor is the link that was made with it.
pub async fn set_token(conn: &mut Conn, id: AgentId, hash: Vec<u8>, now: Timestamp) -> Result<()> {
    let row = for_update!(workspace_agents::table.find(Id(id.0)).select(AgentRow::as_select()));
    let before: AgentRow = row.first(conn).await?;
    if let Some(link) = before.link_id {
        disconnected(conn, id, link.0, now).await?;
    }
    diesel::update(workspace_agents::table.find(Id(id.0)))
        .set(workspace_agents::token_hash.eq(Some(hash)))
        .execute(conn)
        .await?;
    Ok(())
}

/// A link of an agent was made with this token. It replaces the one before. [`Error::Stale`] when the agent has another token
/// by now.
pub async fn connected(
    conn: &mut Conn,
    id: AgentId,
    worker: WorkerId,
    link: Uuid,
    hash: Vec<u8>,
    facts: AgentFacts,
    now: Timestamp,
) -> Result<AgentRecord> {
    let row = for_update!(workspace_agents::table.find(Id(id.0)).select(AgentRow::as_select()));
    let before: AgentRow = row.first(conn).await?;
    if before.token_hash != Some(hash) {
        return Err(Error::Stale);
    }
    diesel::update(workspace_agents::table.find(Id(id.0)))
        .set((
            workspace_agents::worker_id.eq(Some(Id(worker.0))),
            workspace_agents::link_id.eq(Some(Id(link))),
            workspace_agents::first_connected_at.eq(Some(before.first_connected_at.unwrap_or(Ts(now)))),
            workspace_agents::last_connected_at.eq(Some(Ts(now))),
            workspace_agents::disconnected_at.eq(None::<Ts>),
            workspace_agents::operating_system.eq(facts.operating_system),
            workspace_agents::architecture.eq(facts.architecture),
            workspace_agents::version.eq(facts.version),
            workspace_agents::directory.eq(facts.directory),
        ))
        .execute(conn)
        .await?;
    get(conn, id).await
}

/// A link lives. False when another one has replaced it, the workspace was built anew since, or the agent is
/// gone.
pub async fn beat(conn: &mut Conn, id: AgentId, link: Uuid, now: Timestamp) -> Result<bool> {
    let newest = workspaces::table.select(workspaces::latest_build_id);
    let of_link = workspace_agents::table
        .filter(workspace_agents::id.eq(Id(id.0)).and(workspace_agents::link_id.eq(Id(link))))
        .filter(workspace_agents::build_id.eq_any(newest));
    let alive = diesel::update(of_link)
        .set(workspace_agents::last_connected_at.eq(Some(Ts(now))))
        .execute(conn)
        .await?;
    Ok(alive == 1)
}

/// A link ended. One that was replaced says nothing about the agent.
pub async fn disconnected(conn: &mut Conn, id: AgentId, link: Uuid, now: Timestamp) -> Result<()> {
    let of_link = workspace_agents::table
        .filter(workspace_agents::id.eq(Id(id.0)).and(workspace_agents::link_id.eq(Id(link))));
    diesel::update(of_link)
        .set((
            workspace_agents::disconnected_at.eq(Some(Ts(now))),
            workspace_agents::worker_id.eq(None::<Id>),
            workspace_agents::link_id.eq(None::<Id>),
        ))
        .execute(conn)
        .await?;
    Ok(())
}
