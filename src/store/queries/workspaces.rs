//! Workspaces.

use super::{Conn, chats, workspace_builds::begin};
use crate::{
    clock::Timestamp,
    ids::{BuildId, ChatId, OrganizationId, UserId, WorkspaceId},
    store::{
        error::{Error, Result},
        records::workspaces::{
            AgentRecord, BuildRecord, BuildStatus, NewBuild, TemplateKind, Transition, WorkspaceFilter,
            WorkspacePatch, WorkspaceRecord, WorkspaceView,
        },
        schema::{
            chats as chats_table, organizations, templates, users, workspace_agents, workspace_builds,
            workspaces,
        },
        types::{Id, Ts},
        wide,
        workspace_rows::{AgentRow, BuildRow, TemplateRow, WorkspaceRow},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::collections::{HashMap, HashSet};

const TAKEN: &str = "a workspace of this name";

/// Makes a workspace with its first build. An owner has at most `max`; 0 = no limit. Of two at once the
/// second waits for the first.
pub async fn create(
    conn: &mut Conn,
    workspace: WorkspaceRecord,
    build: NewBuild,
    max: i64,
    now: Timestamp,
) -> Result<WorkspaceView> {
    let owner = Id(workspace.owner_id.0);
    let _: Id = for_no_key_update!(users::table.find(owner).select(users::id)).first(conn).await?;
    let organization = organizations::table.find(Id(workspace.organization_id.0)).select(organizations::id);
    let _: Id = for_share!(organization).first(conn).await?;
    let of_owner = || workspaces::table.filter(workspaces::owner_id.eq(owner));
    let taken: Option<Id> = of_owner()
        .filter(workspaces::name.eq(&workspace.name))
        .select(workspaces::id)
        .first(conn)
        .await
        .optional()?;
    if taken.is_some() {
        return Err(Error::Duplicate(TAKEN));
    }
    let count: i64 = of_owner().count().get_result(conn).await?;
    if max > 0 && count >= max {
        return Err(Error::Conflict("You have as many workspaces as one user may have. Delete one first."));
    }
    let id = workspace.id;
    diesel::insert_into(workspaces::table).values(WorkspaceRow::from(workspace)).execute(conn).await?;
    begin(conn, build, now).await?;
    get(conn, id).await
}

/// The same for a chat, which is bound to it in the same moment: whatever ends the process, the workspace is found
/// again.
pub async fn create_for_chat(
    conn: &mut Conn,
    chat: ChatId,
    workspace: WorkspaceRecord,
    build: NewBuild,
    max: i64,
    now: Timestamp,
) -> Result<WorkspaceView> {
    let (id, first) = (workspace.id, build.id);
    let view = create(conn, workspace, build, max, now).await?;
    chats::bind(conn, chat, Some(id)).await?;
    chats::bind_agent(conn, chat, id, first, None).await?;
    Ok(view)
}

/// Workspaces by owner and name.
pub async fn list(conn: &mut Conn, filter: WorkspaceFilter) -> Result<Vec<WorkspaceView>> {
    let mut query = workspaces::table.into_boxed();
    if let Some(id) = filter.id {
        query = query.filter(workspaces::id.eq(Id(id.0)));
    }
    if let Some(owner) = filter.owner {
        query = query.filter(workspaces::owner_id.eq(Id(owner.0)));
    }
    if let Some(name) = filter.name {
        query = query.filter(workspaces::name.eq(name));
    }
    let rows: Vec<WorkspaceRow> = query
        .order((workspaces::name.asc(), workspaces::id.asc()))
        .limit(filter.limit)
        .offset(filter.offset)
        .select(WorkspaceRow::as_select())
        .load(conn)
        .await?;
    views(conn, rows).await
}

/// How many workspaces a filter finds, whatever its page.
pub async fn count(conn: &mut Conn, owner: Option<UserId>) -> Result<i64> {
    let mut query = workspaces::table.into_boxed();
    if let Some(owner) = owner {
        query = query.filter(workspaces::owner_id.eq(Id(owner.0)));
    }
    Ok(query.count().get_result(conn).await?)
}

/// One workspace.
pub async fn get(conn: &mut Conn, id: WorkspaceId) -> Result<WorkspaceView> {
    let filter = WorkspaceFilter { id: Some(id), limit: 1, ..WorkspaceFilter::default() };
    list(conn, filter).await?.pop().ok_or(Error::NotFound)
}

/// Who owns a workspace, and in which organization.
pub async fn place(conn: &mut Conn, id: WorkspaceId) -> Result<(UserId, OrganizationId)> {
    let (owner, organization): (Id, Id) = workspaces::table
        .find(Id(id.0))
        .select((workspaces::owner_id, workspaces::organization_id))
        .first(conn)
        .await?;
    Ok((UserId(owner.0), OrganizationId(organization.0)))
}

async fn views(conn: &mut Conn, rows: Vec<WorkspaceRow>) -> Result<Vec<WorkspaceView>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let owner_ids: Vec<Id> = rows.iter().map(|w| w.owner_id).collect();
    let names: Vec<(Id, String)> = users::table
        .filter(users::id.eq_any(owner_ids))
        .select((users::id, users::username))
        .load(conn)
        .await?;
    let names: HashMap<Id, String> = names.into_iter().collect();
    let template_ids: Vec<Id> = rows.iter().map(|w| w.template_id).collect();
    let found: Vec<TemplateRow> = templates::table
        .filter(templates::id.eq_any(template_ids))
        .select(TemplateRow::as_select())
        .load(conn)
        .await?;
    let found: HashMap<Id, TemplateRow> = found.into_iter().map(|t| (t.id, t)).collect();
    let build_ids: Vec<Id> = rows.iter().map(|w| w.latest_build_id).collect();
    let builds: Vec<BuildRow> = workspace_builds::table
        .filter(workspace_builds::id.eq_any(build_ids.clone()))
        .select(BuildRow::as_select())
        .load(conn)
        .await?;
    let mut builds: HashMap<Id, BuildRow> = builds.into_iter().map(|b| (b.id, b)).collect();
    let mut agents: HashMap<Id, Vec<AgentRecord>> = HashMap::new();
    for agent in agents_of(conn, build_ids).await? {
        agents.entry(agent.build_id).or_default().push(agent.into());
    }
    let missing = |what: &str| Error::Corrupt(format!("a workspace without {what}"));
    rows.into_iter()
        .map(|row| {
            let template = found.get(&row.template_id).cloned().ok_or_else(|| missing("a template"))?;
            let build = builds.remove(&row.latest_build_id).ok_or_else(|| missing("a build"))?;
            Ok(WorkspaceView {
                owner_name: names.get(&row.owner_id).cloned().unwrap_or_default(),
                template: template.record()?,
                build: build.record()?,
                agents: agents.remove(&row.latest_build_id).unwrap_or_default(),
                workspace: row.into(),
            })
        })
        .collect()
}

async fn agents_of(conn: &mut Conn, builds: Vec<Id>) -> Result<Vec<AgentRow>> {
    Ok(workspace_agents::table
        .filter(workspace_agents::build_id.eq_any(builds))
        .order((workspace_agents::display_order.asc(), workspace_agents::id.asc()))
        .select(AgentRow::as_select())
        .load(conn)
        .await?)
}

/// Changes a workspace. A new time to live counts from the next start.
pub async fn patch(
    conn: &mut Conn,
    id: WorkspaceId,
    p: WorkspacePatch,
    now: Timestamp,
) -> Result<WorkspaceView> {
    #[derive(AsChangeset)]
    #[diesel(table_name = workspaces)]
    struct Row {
        name: Option<String>,
        ttl_ms: Option<Option<i64>>,
        updated_at: Ts,
    }
    let row = Row { name: p.name, ttl_ms: p.ttl_ms, updated_at: Ts(now) };
    diesel::update(workspaces::table.find(Id(id.0)))
        .set(row)
        .execute(conn)
        .await
        .map_err(Error::unless_new(TAKEN))?;
    get(conn, id).await
}

/// A chat used a workspace: its end is put off by the template's activity bump, once a twentieth of that
/// has gone by since it was put off last.
pub async fn bump(conn: &mut Conn, id: WorkspaceId, now: Timestamp) -> Result<()> {
    use std::time::Duration;
    let found: Option<(Option<Ts>, Id)> = workspaces::table
        .find(Id(id.0))
        .select((workspaces::deadline, workspaces::template_id))
        .first(conn)
        .await
        .optional()?;
    let Some((deadline, template)) = found else { return Ok(()) };
    diesel::update(workspaces::table.find(Id(id.0)))
        .set(workspaces::last_used_at.eq(Ts(now)))
        .execute(conn)
        .await?;
    let Some(Ts(deadline)) = deadline else { return Ok(()) };
    let bump: i64 = templates::table.find(template).select(templates::activity_bump_ms).first(conn).await?;
    let bump = Duration::from_millis(u64::try_from(bump).unwrap_or(0));
    if deadline < now + bump.mul_f64(0.95) {
        let end = Some(Ts(now + bump));
        // A stop that was made meanwhile has taken the deadline away, and it stays away.
        let open =
            workspaces::table.filter(workspaces::id.eq(Id(id.0)).and(workspaces::deadline.is_not_null()));
        diesel::update(open).set(workspaces::deadline.eq(end)).execute(conn).await?;
    }
    Ok(())
}

/// The workspaces of these chats, each once. By diesel, because a statement of our own would stay prepared for each number of
/// chats.
pub async fn of_chats(conn: &mut Conn, ids: Vec<ChatId>) -> Result<Vec<WorkspaceId>> {
    let mut found = HashSet::new();
    for part in ids.chunks(chats::MOST_BINDS) {
        let bound: Vec<Option<Id>> = chats_table::table
            .filter(chats_table::id.eq_any(part.iter().map(|chat| Id(chat.0))))
            .filter(wide::workspace_id.is_not_null())
            .select(wide::workspace_id)
            .load(conn)
            .await?;
        found.extend(bound.into_iter().flatten().map(|id| WorkspaceId(id.0)));
    }
    Ok(found.into_iter().collect())
}

/// Workspaces whose time is over.
pub async fn due(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<Vec<WorkspaceId>> {
    let ids: Vec<Id> = workspaces::table
        .filter(workspaces::deadline.le(Ts(now)))
        .order(workspaces::deadline.asc())
        .limit(limit)
        .select(workspaces::id)
        .load(conn)
        .await?;
    Ok(ids.into_iter().map(|id| WorkspaceId(id.0)).collect())
}

/// Workspaces that should run, and of which it can be told whether they do: by a command of their template, or because they are
/// processes of a host. In the order of their ids: those after one of them. Template by template: each time an index has the
/// order, and those that rest are left out.
pub async fn with_status(conn: &mut Conn, after: WorkspaceId, limit: i64) -> Result<Vec<WorkspaceView>> {
    let asked: Vec<Id> = templates::table
        .filter(
            templates::kind
                .eq(TemplateKind::Command.as_str())
                .and(templates::status_command.is_not_null())
                .or(templates::kind.eq(TemplateKind::Local.as_str())),
        )
        .select(templates::id)
        .load(conn)
        .await?;
    let latest = workspaces::latest_build_id.eq(workspace_builds::id);
    let started = workspace_builds::transition
        .eq(Transition::Start.as_str())
        .and(workspace_builds::status.eq(BuildStatus::Succeeded.as_str()));
    let mut rows: Vec<WorkspaceRow> = Vec::new();
    for template in asked {
        let found = workspaces::table
            .inner_join(workspace_builds::table.on(latest))
            .filter(workspaces::template_id.eq(template).and(workspaces::id.gt(Id(after.0))).and(started))
            .order(workspaces::id.asc())
            .limit(limit)
            .select(WorkspaceRow::as_select());
        rows.extend(found.load(conn).await?);
    }
    rows.sort_unstable_by_key(|row| row.id.0);
    rows.truncate(usize::try_from(limit).unwrap_or(0));
    views(conn, rows).await
}

/// The builds of a workspace, newest first.
pub async fn builds(conn: &mut Conn, id: WorkspaceId, limit: i64) -> Result<Vec<BuildRecord>> {
    let rows: Vec<BuildRow> = workspace_builds::table
        .filter(workspace_builds::workspace_id.eq(Id(id.0)))
        .order(workspace_builds::build_number.desc())
        .limit(limit)
        .select(BuildRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(BuildRow::record).collect()
}

/// One build.
pub async fn build(conn: &mut Conn, id: BuildId) -> Result<BuildRecord> {
    let row: BuildRow =
        workspace_builds::table.find(Id(id.0)).select(BuildRow::as_select()).first(conn).await?;
    row.record()
}
