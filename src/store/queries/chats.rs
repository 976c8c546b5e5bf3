//! Chats: reads and metadata. Execution columns are written by `commit` alone.

use super::Conn;
use crate::{
    clock::Timestamp,
    ids::{ChatId, ModelConfigId, OrganizationId, UserId},
    store::{
        commit::MetaChange,
        error::{Error, Result},
        records::{ChatRecord, ListFilter, ListedChat, MetaPatch},
        rows::HeadRow,
        schema::{chat_messages, chats, users},
        types::{Id, Raw, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

/// All columns of a chat.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = chats)]
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
            head: head.head()?,
        })
    }
}

/// Metadata that rides along with a message.
#[derive(Debug, AsChangeset)]
#[diesel(table_name = chats)]
pub struct MetaRow {
    last_model_config_id: Option<Id>,
    last_reasoning_effort: Option<String>,
    plan_mode: Option<Option<String>>,
    mcp_server_ids: Option<Raw>,
}

impl From<&MetaChange> for MetaRow {
    fn from(m: &MetaChange) -> Self {
        Self {
            last_model_config_id: m.model_config_id.map(|id| Id(id.0)),
            last_reasoning_effort: m.reasoning_effort.clone(),
            plan_mode: m.plan_mode.clone(),
            mcp_server_ids: m.mcp_server_ids.clone().map(Raw),
        }
    }
}

/// One chat.
pub async fn get(conn: &mut Conn, id: ChatId) -> Result<ChatRecord> {
    let row: ChatRow = chats::table.find(Id(id.0)).select(ChatRow::as_select()).first(conn).await?;
    row.try_into()
}

/// The sub-agent chats of some roots, newest first.
pub async fn children(conn: &mut Conn, roots: Vec<ChatId>, archived: bool) -> Result<Vec<ListedChat>> {
    let ids: Vec<Id> = roots.iter().map(|r| Id(r.0)).collect();
    let rows: Vec<ChatRow> = chats::table
        .filter(chats::root_chat_id.eq_any(ids))
        .filter(chats::parent_chat_id.is_not_null())
        .filter(chats::archived.eq(archived))
        .order(chats::created_at.desc())
        .select(ChatRow::as_select())
        .load(conn)
        .await?;
    with_unread(conn, rows).await
}

/// Adds the unread flags with one statement for the page.
async fn with_unread(conn: &mut Conn, rows: Vec<ChatRow>) -> Result<Vec<ListedChat>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Id> = rows.iter().map(|r| r.head.id).collect();
    let unread: Vec<Id> = chats::table
        .filter(chats::id.eq_any(ids))
        .filter(diesel::dsl::exists(
            chat_messages::table
                .filter(chat_messages::chat_id.eq(chats::id))
                .filter(chat_messages::id.gt(chats::last_read_message_id))
                .filter(chat_messages::role.eq("assistant"))
                .filter(chat_messages::visibility.ne("model"))
                .filter(chat_messages::deleted.eq(false)),
        ))
        .select(chats::id)
        .load(conn)
        .await?;
    rows.into_iter()
        .map(|r| Ok(ListedChat { has_unread: unread.contains(&r.head.id), chat: r.try_into()? }))
        .collect()
}

/// Root chats in list order: pinned by place, then newest update first, then id.
pub async fn list(conn: &mut Conn, f: ListFilter) -> Result<Vec<ListedChat>> {
    let mut query = chats::table
        .filter(chats::owner_id.eq(Id(f.owner.0)))
        .filter(chats::parent_chat_id.is_null())
        .filter(chats::archived.eq(f.archived))
        .select(ChatRow::as_select())
        .into_boxed();
    if let Some(title) = &f.title {
        query = query.filter(title_contains!(title));
    }
    if let Some(status) = f.status {
        query = query.filter(chats::status.eq(status.as_str()));
    }
    for (key, value) in &f.labels {
        query = query.filter(label_is!(key, value));
    }
    if let Some(unread) = f.has_unread {
        let exists = diesel::dsl::exists(
            chat_messages::table
                .filter(chat_messages::chat_id.eq(chats::id))
                .filter(chat_messages::id.gt(chats::last_read_message_id))
                .filter(chat_messages::role.eq("assistant"))
                .filter(chat_messages::visibility.ne("model"))
                .filter(chat_messages::deleted.eq(false)),
        );
        query = if unread { query.filter(exists) } else { query.filter(diesel::dsl::not(exists)) };
    }
    if let Some(after) = f.after {
        let cursor: Option<(i64, Ts)> = chats::table
            .find(Id(after.0))
            .filter(chats::owner_id.eq(Id(f.owner.0)))
            .select((chats::pin_order, chats::updated_at))
            .first(conn)
            .await
            .optional()?;
        let Some((pin, updated)) = cursor else { return Ok(Vec::new()) };
        let older =
            chats::updated_at.lt(updated).or(chats::updated_at.eq(updated).and(chats::id.lt(Id(after.0))));
        query = if pin > 0 {
            query.filter(chats::pin_order.gt(pin).or(chats::pin_order.eq(0)))
        } else {
            query.filter(chats::pin_order.eq(0)).filter(older)
        };
    }
    let rows = query
        .order((
            chats::pin_order.eq(0).asc(),
            chats::pin_order.asc(),
            chats::updated_at.desc(),
            chats::id.desc(),
        ))
        .limit(f.limit)
        .offset(f.offset)
        .load(conn)
        .await?;
    with_unread(conn, rows).await
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
    if let Some(place) = p.pin_order {
        pin(conn, id, place).await?;
    }
    let row = Row { title: p.title, labels: p.labels.map(Raw), plan_mode: p.plan_mode };
    if row.title.is_some() || row.labels.is_some() || row.plan_mode.is_some() {
        diesel::update(chats::table.find(Id(id.0))).set(row).execute(conn).await?;
    }
    get(conn, id).await
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
const MOST_BINDS: usize = 30_000;

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
