//! Builds of workspaces: asked for, taken on by a replica under a lease, ended.

use super::{Conn, Statement, clock, workspaces as views};
use crate::{
    clock::Timestamp,
    ids::{BuildId, WorkerId, WorkspaceId},
    store::{
        error::{Error, Result},
        records::workspaces::{
            AgentRecord, BuildEnd, BuildLog, BuildReason, BuildRecord, BuildStatus, ClaimedBuild, LogSource,
            NewBuild, Transition,
        },
        schema::{workspace_agents, workspace_build_logs, workspace_builds, workspaces},
        types::{Id, Ts, sql},
        workspace_rows::{AgentRow, BuildRow, LogRow, log},
    },
};
use diesel::{
    prelude::*,
    sql_types::{BigInt, Text},
};
use diesel_async::RunQueryDsl;
use std::time::Duration;

/// When the end of a workspace with a time to live is asked for again after a stop that failed: it may run on, and perhaps
/// nobody looks.
const STOP_AGAIN: Duration = Duration::from_secs(10 * 60);
/// Builds of a workspace that are kept with their logs, and beside them the last start that worked.
const KEPT: i64 = 100;
/// Older ones that are looked at with each new one, of which one may be kept: few, as logs may be long, and more than come.
const FORGOTTEN: i64 = 3;
/// Statuses of builds that are not over.
const OPEN: [&str; 2] = ["pending", "running"];

/// Asks for a build. One at a time: another one that is not over yet is in the way.
pub async fn begin(conn: &mut Conn, new: NewBuild, now: Timestamp) -> Result<BuildRecord> {
    let workspace = Id(new.workspace_id.0);
    let _: Id = for_update!(workspaces::table.find(workspace).select(workspaces::id)).first(conn).await?;
    let of_it = || workspace_builds::table.filter(workspace_builds::workspace_id.eq(workspace));
    let last: Option<(i64, String)> = of_it()
        .order(workspace_builds::build_number.desc())
        .select((workspace_builds::build_number, workspace_builds::status))
        .first(conn)
        .await
        .optional()?;
    if last.as_ref().is_some_and(|(_, status)| OPEN.contains(&status.as_str())) {
        return Err(Error::Conflict("A build of this workspace is under way. Wait until it is over."));
    }
    let row = BuildRow {
        id: Id(new.id.0),
        workspace_id: workspace,
        build_number: last.map_or(0, |(number, _)| number) + 1,
        transition: new.transition.as_str().into(),
        status: "pending".into(),
        reason: new.reason.as_str().into(),
        initiator_id: new.initiator_id.map(|i| Id(i.0)),
        error: None,
        worker_id: None,
        lease_until: None,
        created_at: Ts(now),
        started_at: None,
        finished_at: None,
    };
    diesel::insert_into(workspace_builds::table).values(row.clone()).execute(conn).await?;
    forget_old(conn, workspace, row.build_number - KEPT).await?;
    // What is about to stop needs no end any more, and what starts gets one when it has started.
    diesel::update(workspaces::table.find(workspace))
        .set((
            workspaces::latest_build_id.eq(row.id),
            workspaces::deadline.eq(None::<Ts>),
            workspaces::updated_at.eq(Ts(now)),
        ))
        .execute(conn)
        .await?;
    row.record()
}

/// Removes some of the builds up to this number.
async fn forget_old(conn: &mut Conn, workspace: Id, last: i64) -> Result<()> {
    if last < 1 {
        return Ok(());
    }
    let of_it = || workspace_builds::table.filter(workspace_builds::workspace_id.eq(workspace));
    let started = workspace_builds::transition
        .eq(Transition::Start.as_str())
        .and(workspace_builds::status.eq(BuildStatus::Succeeded.as_str()));
    let kept: Option<Id> = of_it()
        .filter(started)
        .order(workspace_builds::build_number.desc())
        .select(workspace_builds::id)
        .first(conn)
        .await
        .optional()?;
    let old: Vec<Id> = of_it()
        .filter(workspace_builds::build_number.le(last))
        .order(workspace_builds::build_number.asc())
        .limit(FORGOTTEN)
        .select(workspace_builds::id)
        .load(conn)
        .await?;
    for id in old.into_iter().filter(|id| Some(*id) != kept) {
        diesel::delete(workspace_builds::table.find(id)).execute(conn).await?;
    }
    Ok(())
}

/// Asks for the end of a workspace whose time is over, unless it was put off or ended meanwhile.
pub async fn autostop(conn: &mut Conn, workspace: WorkspaceId, id: BuildId, now: Timestamp) -> Result<bool> {
    let found = workspaces::table.find(Id(workspace.0)).select(workspaces::deadline);
    let deadline: Option<Option<Ts>> = for_update!(found).first(conn).await.optional()?;
    if deadline.flatten().is_none_or(|end| end.0 > now) {
        return Ok(false);
    }
    let new = NewBuild {
        id,
        workspace_id: workspace,
        transition: Transition::Stop,
        reason: BuildReason::Autostop,
        initiator_id: None,
    };
    ask_for(conn, new, now).await
}

/// Asks for a build in nobody's name. False when the workspace is being built anyway.
async fn ask_for(conn: &mut Conn, new: NewBuild, now: Timestamp) -> Result<bool> {
    match begin(conn, new, now).await {
        Ok(_) => Ok(true),
        Err(Error::Conflict(_)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Asks for a build of a workspace, unless it was built anew meanwhile.
pub async fn begin_after(conn: &mut Conn, seen: BuildId, new: NewBuild, now: Timestamp) -> Result<bool> {
    let found = workspaces::table.find(Id(new.workspace_id.0)).select(workspaces::latest_build_id);
    let latest: Option<Id> = for_update!(found).first(conn).await.optional()?;
    if latest != Some(Id(seen.0)) {
        return Ok(false);
    }
    ask_for(conn, new, now).await
}

/// Nobody runs it, or whoever did has let the lease pass.
macro_rules! free {
    ($now:expr) => {
        workspace_builds::status
            .eq("pending")
            .or(workspace_builds::status.eq("running").and(workspace_builds::lease_until.lt(Ts($now))))
    };
}

/// Whether there is a build that nobody runs.
pub async fn has_open(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    let now = clock::now(conn, now).await?;
    let found: Option<Id> = workspace_builds::table
        .filter(free!(now))
        .select(workspace_builds::id)
        .first(conn)
        .await
        .optional()?;
    Ok(found.is_some())
}

/// Takes on the oldest build that nobody runs, or whose replica has let its lease pass.
pub async fn claim(
    conn: &mut Conn,
    worker: WorkerId,
    lease: Duration,
    now: Timestamp,
) -> Result<Option<ClaimedBuild>> {
    let now = clock::now(conn, now).await?;
    let candidate: Option<(Id, String)> = workspace_builds::table
        .filter(free!(now))
        .order(workspace_builds::created_at.asc())
        .select((workspace_builds::id, workspace_builds::status))
        .first(conn)
        .await
        .optional()?;
    let Some((id, status)) = candidate else { return Ok(None) };
    let abandoned = status == "running";
    // The condition again: another replica may have been faster.
    let still = workspace_builds::table.filter(workspace_builds::id.eq(id)).filter(free!(now));
    let taken = diesel::update(still)
        .set((
            workspace_builds::status.eq("running"),
            workspace_builds::worker_id.eq(Some(Id(worker.0))),
            workspace_builds::lease_until.eq(Some(Ts(now + lease))),
            workspace_builds::started_at.eq(Some(Ts(now))),
        ))
        .execute(conn)
        .await?;
    if taken == 0 {
        return Ok(None);
    }
    let build = views::build(conn, BuildId(id.0)).await?;
    let view = views::get(conn, build.workspace_id).await?;
    Ok(Some(ClaimedBuild { view, abandoned }))
}

/// Ends the leases of all builds.
pub async fn forget_leases(conn: &mut Conn) -> Result<usize> {
    let running = workspace_builds::table.filter(workspace_builds::status.eq("running"));
    let ended = Some(Ts(Timestamp::from_micros(0)));
    Ok(diesel::update(running).set(workspace_builds::lease_until.eq(ended)).execute(conn).await?)
}

/// Whether a replica still runs a build; the row is locked.
async fn fence(conn: &mut Conn, build: BuildId, worker: WorkerId) -> Result<BuildRecord> {
    let row: Option<BuildRow> =
        for_update!(workspace_builds::table.find(Id(build.0)).select(BuildRow::as_select()))
            .first(conn)
            .await
            .optional()?;
    let record = row.ok_or(Error::Stale)?.record()?;
    match record.worker_id == Some(worker) && !record.status.is_final() {
        true => Ok(record),
        false => Err(Error::Stale),
    }
}

/// Goes on running a build. [`Error::Stale`] when somebody else has taken it on.
pub async fn renew(
    conn: &mut Conn,
    build: BuildId,
    worker: WorkerId,
    lease: Duration,
    now: Timestamp,
) -> Result<()> {
    fence(conn, build, worker).await?;
    let now = clock::now(conn, now).await?;
    diesel::update(workspace_builds::table.find(Id(build.0)))
        .set(workspace_builds::lease_until.eq(Some(Ts(now + lease))))
        .execute(conn)
        .await?;
    Ok(())
}

/// Adds lines to the log of a build.
pub async fn append(
    conn: &mut Conn,
    build: BuildId,
    worker: WorkerId,
    lines: Vec<(Timestamp, LogSource, String)>,
) -> Result<()> {
    fence(conn, build, worker).await?;
    let last: Option<i64> = workspace_build_logs::table
        .filter(workspace_build_logs::build_id.eq(Id(build.0)))
        .order(workspace_build_logs::seq.desc())
        .select(workspace_build_logs::seq)
        .first(conn)
        .await
        .optional()?;
    // Few statements: a build that prints a lot should not keep other writers waiting. In groups of a power of
    // two, since each number of lines is a text of its own, which stays prepared.
    let mut lines = lines.into_iter();
    let mut seq = last.unwrap_or(0);
    while let Some(group) = lines.len().checked_ilog2() {
        let mut s = Statement::default();
        s.sql("INSERT INTO workspace_build_logs (build_id, seq, created_at, source, output) VALUES ");
        for (n, (at, source, output)) in lines.by_ref().take(1 << group).enumerate() {
            seq += 1;
            s.sql(if n == 0 { "(" } else { ", (" });
            s.bind::<sql::Uid, _>(Id(build.0)).sql(", ").bind::<BigInt, _>(seq);
            s.sql(", ").bind::<sql::Moment, _>(Ts(at)).sql(", ").bind::<Text, _>(source.as_str());
            s.sql(", ").bind::<Text, _>(output).sql(")");
        }
        s.execute(conn).await?;
    }
    Ok(())
}

/// Lines of a build's log after a number, in order.
pub async fn logs(conn: &mut Conn, build: BuildId, after: i64, limit: i64) -> Result<Vec<BuildLog>> {
    let rows: Vec<LogRow> = workspace_build_logs::table
        .filter(workspace_build_logs::build_id.eq(Id(build.0)))
        .filter(workspace_build_logs::seq.gt(after))
        .order(workspace_build_logs::seq.asc())
        .limit(limit)
        .select((
            workspace_build_logs::seq,
            workspace_build_logs::created_at,
            workspace_build_logs::source,
            workspace_build_logs::output,
        ))
        .load(conn)
        .await?;
    rows.into_iter().map(log).collect()
}

/// Enters the agent that a build starts, in place of one that an earlier try of it entered.
pub async fn enter_agent(conn: &mut Conn, worker: WorkerId, agent: AgentRecord) -> Result<()> {
    fence(conn, agent.build_id, worker).await?;
    let earlier = workspace_agents::table.filter(workspace_agents::build_id.eq(Id(agent.build_id.0)));
    diesel::delete(earlier).execute(conn).await?;
    diesel::insert_into(workspace_agents::table).values(AgentRow::from(agent)).execute(conn).await?;
    Ok(())
}

/// Ends a build. The workspace of a deletion that worked is gone then.
pub async fn finish(conn: &mut Conn, end: BuildEnd, now: Timestamp) -> Result<()> {
    let record = fence(conn, end.build, end.worker).await?;
    let workspace = Id(record.workspace_id.0);
    if end.error.is_none() && record.transition == Transition::Delete {
        diesel::delete(workspaces::table.find(workspace)).execute(conn).await?;
        return Ok(());
    }
    let runs_for = match (record.transition, &end.error) {
        _ if end.ttl.is_zero() => None,
        (Transition::Start, None) => Some(end.ttl),
        (Transition::Stop, Some(_)) => Some(STOP_AGAIN),
        _ => None,
    };
    if let Some(time) = runs_for {
        diesel::update(workspaces::table.find(workspace))
            .set(workspaces::deadline.eq(Some(Ts(now + time))))
            .execute(conn)
            .await?;
    }
    let status = if end.error.is_some() { "failed" } else { "succeeded" };
    diesel::update(workspace_builds::table.find(Id(end.build.0)))
        .set((
            workspace_builds::status.eq(status),
            workspace_builds::error.eq(end.error),
            workspace_builds::finished_at.eq(Some(Ts(now))),
            workspace_builds::lease_until.eq(None::<Ts>),
        ))
        .execute(conn)
        .await?;
    Ok(())
}
