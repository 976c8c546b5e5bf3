//! Chats: reads and metadata. Execution columns are written by `commit` alone.

use super::{Conn, Statement};
use crate::{
    chat::json::Json,
    clock::Timestamp,
    ids::{AgentId, BuildId, ChatId, ModelConfigId, OrganizationId, UserId, WorkspaceId},
    store::{
        error::{Error, Result},
        records::{ChatRecord, MetaPatch},
        rows::HeadRow,
        schema::{chat_messages, chats, users},
        types::{Id, Raw, Ts, sql as types},
        wide,
    },
};
use diesel::{prelude::*, sql_types::Nullable};
use diesel_async::RunQueryDsl;

/// All columns of a chat.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = chats, treat_none_as_default_value = false)]
pub(in crate::store) struct ChatRow {
    #[diesel(embed)]
    pub head: HeadRow,
    pub organization_id: Id,
    pub root_chat_id: Id,
    pub title: String,
    pub last_model_config_id: Id,
    pub last_reasoning_effort: Option<String>,
    pub plan_mode: Option<String>,
    pub client_type: String,
    pub labels: Raw,
    pub mcp_server_ids: Raw,
    pub last_turn_summary: Option<String>,
    pub last_read_message_id: i64,
    pub pin_order: i64,
    pub created_at: Ts,
    pub updated_at: Ts,
    #[diesel(
        select_expression = wide::workspace_id,
        select_expression_type = wide::workspace_id,
        skip_insertion
    )]
    pub workspace_id: Option<Id>,
    #[diesel(
        select_expression = wide::build_id,
        select_expression_type = wide::build_id,
        skip_insertion
    )]
    pub build_id: Option<Id>,
    #[diesel(
        select_expression = wide::agent_id,
        select_expression_type = wide::agent_id,
        skip_insertion
    )]
    pub agent_id: Option<Id>,
    #[diesel(
        select_expression = wide::last_injected_context,
        select_expression_type = wide::last_injected_context,
        skip_insertion
    )]
    pub last_injected_context: Option<Raw>,
}

impl TryFrom<ChatRow> for ChatRecord {
    type Error = Error;
    fn try_from(r: ChatRow) -> Result<Self> {
        let mut head = r.head;
        Ok(Self {
            organization_id: OrganizationId(r.organization_id.0),
            owner_id: UserId(head.owner_id.0),
            parent_chat_id: head.parent_chat_id.map(|p| ChatId(p.0)),
            root_chat_id: ChatId(r.root_chat_id.0),
            title: r.title,
            last_model_config_id: ModelConfigId(r.last_model_config_id.0),
            last_reasoning_effort: r.last_reasoning_effort,
            plan_mode: r.plan_mode,
            client_type: r.client_type,
            labels: r.labels.0,
            mcp_server_ids: r.mcp_server_ids.0,
            dynamic_tools: head.dynamic_tools.take().map(|x| x.0),
            last_turn_summary: r.last_turn_summary,
            last_read_message_id: r.last_read_message_id,
            pin_order: r.pin_order,
            compaction_requested_at: head.compaction_requested_at.map(|t| t.0),
            created_at: r.created_at.0,
            updated_at: r.updated_at.0,
            workspace_id: r.workspace_id.map(|i| WorkspaceId(i.0)),
            build_id: r.build_id.map(|i| BuildId(i.0)),
            agent_id: r.agent_id.map(|i| AgentId(i.0)),
            last_injected_context: r.last_injected_context.map(|x| x.0),
            head: head.head()?,
        })
    }
}

/// One chat.
pub async fn get(conn: &mut Conn, id: ChatId) -> Result<ChatRecord> {
    let row: ChatRow = chats::table.find(Id(id.0)).select(ChatRow::as_select()).first(conn).await?;
    row.try_into()
}

/// Changes metadata. Moves no version; only the pin order of the owner's other chats may move along.
pub async fn patch(conn: &mut Conn, id: ChatId, p: MetaPatch) -> Result<ChatRecord> {
    #[derive(AsChangeset)]
    #[diesel(table_name = chats)]
    struct Row {
        title: Option<String>,
        labels: Option<Raw>,
        plan_mode: Option<Option<String>>,
    }
    if let Some(workspace) = p.workspace_id {
        bind(conn, id, workspace).await?;
    }
    if let Some(place) = p.pin_order {
        pin(conn, id, place).await?;
    }
    let row = Row { title: p.title, labels: p.labels.map(Raw), plan_mode: p.plan_mode };
    if row.title.is_some() || row.labels.is_some() || row.plan_mode.is_some() {
        diesel::update(chats::table.find(Id(id.0))).set(row).execute(conn).await?;
    }
    get(conn, id).await
}

/// Binds a chat to a workspace, or to none. Another one than before has other builds and agents.
pub async fn bind(conn: &mut Conn, id: ChatId, workspace: Option<WorkspaceId>) -> Result<()> {
    let mut s = Statement::default();
    s.sql("UPDATE chats SET build_id = NULL, agent_id = NULL, workspace_id = ");
    s.bind::<Nullable<types::Uid>, _>(workspace.map(|w| Id(w.0)));
    s.sql(" WHERE id = ").bind::<types::Uid, _>(Id(id.0));
    s.execute(conn).await?;
    Ok(())
}

/// Notes which build and agent of its workspace a chat uses. Nothing happens when it has another workspace by now.
pub async fn bind_agent(
    conn: &mut Conn,
    id: ChatId,
    workspace: WorkspaceId,
    build: BuildId,
    agent: Option<AgentId>,
) -> Result<()> {
    let mut s = Statement::default();
    s.sql("UPDATE chats SET build_id = ").bind::<types::Uid, _>(Id(build.0));
    s.sql(", agent_id = ").bind::<Nullable<types::Uid>, _>(agent.map(|a| Id(a.0)));
    s.sql(" WHERE id = ").bind::<types::Uid, _>(Id(id.0));
    s.sql(" AND workspace_id = ").bind::<types::Uid, _>(Id(workspace.0));
    s.execute(conn).await?;
    Ok(())
}

/// Notes what a workspace said of its project, as the chat shows it.
pub async fn set_injected_context(conn: &mut Conn, id: ChatId, parts: Json) -> Result<()> {
    let mut s = Statement::default();
    s.sql("UPDATE chats SET last_injected_context = ").bind::<types::JsonText, _>(Raw(parts));
    s.sql(" WHERE id = ").bind::<types::Uid, _>(Id(id.0));
    s.execute(conn).await?;
    Ok(())
}

/// Locks the order of an owner's pinned chats. Comes before the lock of any chat in the same
/// transaction, so that pinning and archiving cannot wait for each other; and two first pins would
/// both find no chat to lock and take the same place.
pub async fn lock_pins(conn: &mut Conn, owner: Id) -> Result<()> {
    let _: Id = for_no_key_update!(users::table.find(owner).select(users::id)).first(conn).await?;
    Ok(())
}

/// Puts a chat at a place among the owner's pinned chats; 0 unpins. An unpinned chat is appended.
async fn pin(conn: &mut Conn, id: ChatId, place: i64) -> Result<()> {
    let owner: Id = chats::table.find(Id(id.0)).select(chats::owner_id).first(conn).await?;
    lock_pins(conn, owner).await?;
    // Whether it may be pinned was checked before the lock.
    let archived: bool = chats::table.find(Id(id.0)).select(chats::archived).first(conn).await?;
    if archived && place > 0 {
        return Err(Error::Stale);
    }
    let pinned: Vec<(Id, i64)> = for_update!(
        chats::table
            .filter(chats::owner_id.eq(owner))
            .filter(chats::parent_chat_id.is_null())
            .filter(chats::pin_order.gt(0))
            .order((chats::pin_order.asc(), chats::id.asc()))
            .select((chats::id, chats::pin_order))
    )
    .load(conn)
    .await?;
    let was_pinned = pinned.iter().any(|(c, _)| c.0 == id.0);
    let mut order: Vec<Id> = pinned.iter().map(|(c, _)| *c).filter(|c| c.0 != id.0).collect();
    if place > 0 {
        let end = order.len();
        let at = if was_pinned { usize::try_from(place - 1).unwrap_or(usize::MAX).min(end) } else { end };
        order.insert(at, Id(id.0));
    } else {
        diesel::update(chats::table.find(Id(id.0))).set(chats::pin_order.eq(0)).execute(conn).await?;
    }
    for (i, chat) in order.into_iter().enumerate() {
        let wanted = i64::try_from(i).unwrap_or(i64::MAX - 1) + 1;
        if pinned.iter().any(|(c, p)| *c == chat && *p == wanted) {
            continue;
        }
        diesel::update(chats::table.find(chat)).set(chats::pin_order.eq(wanted)).execute(conn).await?;
    }
    Ok(())
}

/// Unpins a chat and closes the gap.
pub async fn unpin(conn: &mut Conn, id: ChatId) -> Result<()> {
    let place: i64 = chats::table.find(Id(id.0)).select(chats::pin_order).first(conn).await?;
    if place > 0 { pin(conn, id, 0).await } else { Ok(()) }
}

/// Moves the owner's read cursor to the newest assistant message. Without one nothing happens.
pub async fn mark_read(conn: &mut Conn, id: ChatId) -> Result<()> {
    let newest: Option<i64> = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(id.0)))
        .filter(chat_messages::role.eq("assistant"))
        .filter(chat_messages::deleted.eq(false))
        .order(chat_messages::id.desc())
        .select(chat_messages::id)
        .first(conn)
        .await
        .optional()?;
    let Some(newest) = newest else { return Ok(()) };
    diesel::update(chats::table.find(Id(id.0)).filter(chats::last_read_message_id.lt(newest)))
        .set(chats::last_read_message_id.eq(newest))
        .execute(conn)
        .await?;
    Ok(())
}

/// Most ids of one statement: SQLite refuses more than 32,766 parameters.
pub(super) const MOST_BINDS: usize = 30_000;

/// Replaces a title, unless it is no longer the one that was seen.
pub async fn retitle(conn: &mut Conn, id: ChatId, from: String, to: String) -> Result<bool> {
    let n = diesel::update(chats::table.find(Id(id.0)).filter(chats::title.eq(from)))
        .set(chats::title.eq(to))
        .execute(conn)
        .await?;
    Ok(n == 1)
}

/// The version columns of many chats, for the sync poller.
pub async fn snapshots(conn: &mut Conn, ids: Vec<ChatId>) -> Result<Vec<(ChatId, i64)>> {
    let mut found = Vec::with_capacity(ids.len());
    for part in ids.chunks(MOST_BINDS) {
        let part: Vec<Id> = part.iter().map(|i| Id(i.0)).collect();
        let rows: Vec<(Id, i64)> = chats::table
            .filter(chats::id.eq_any(part))
            .select((chats::id, chats::snapshot_version))
            .load(conn)
            .await?;
        found.extend(rows.into_iter().map(|(id, v)| (ChatId(id.0), v)));
    }
    Ok(found)
}

/// When the chat was created, as a check that it exists and who owns it.
pub async fn owner(conn: &mut Conn, id: ChatId) -> Result<(UserId, Timestamp)> {
    let (owner, at): (Id, Ts) =
        chats::table.find(Id(id.0)).select((chats::owner_id, chats::created_at)).first(conn).await?;
    Ok((UserId(owner.0), at.0))
}
