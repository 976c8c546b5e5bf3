//! Lists of chats. Each is a bounded number of statements, whatever is in it.

use super::{
    Conn,
    chats::{ChatRow, MOST_BINDS},
    diffs, sharing,
};
use crate::{
    ids::{ChatId, UserId, WorkspaceId},
    store::{
        error::Result,
        records::{ChatRecord, ListFilter, ListedChat, Readable},
        schema::{chat_messages, chats},
        types::{Id, Ts, sql as types},
        wide,
    },
};
use diesel::{
    dsl::{exists, not, sql},
    prelude::*,
    sql_types::{BigInt, Bool, Text},
};
use diesel_async::RunQueryDsl;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Owners of shared chats whose messages are searched: those of the newest shares.
const SEARCHED_OWNERS: i64 = 200;

/// An assistant message lies above the read cursor.
macro_rules! unread {
    () => {
        exists(
            chat_messages::table
                .filter(chat_messages::chat_id.eq(chats::id))
                .filter(chat_messages::id.gt(chats::last_read_message_id))
                .filter(chat_messages::role.eq("assistant"))
                .filter(chat_messages::visibility.ne("model"))
                .filter(chat_messages::deleted.eq(false)),
        )
    };
}

/// The root chat is shared with a user, directly or through a group.
macro_rules! shared_with {
    ($user:expr) => {
        sql::<Bool>(
            "chats.root_chat_id IN (SELECT a.root_chat_id FROM chat_acl a WHERE a.user_id = ",
        )
        .bind::<types::Uid, _>(Id($user.0))
        .sql(
            " UNION SELECT a.root_chat_id FROM chat_acl a JOIN group_members g ON g.group_id = a.group_id \
             WHERE g.user_id = ",
        )
        .bind::<types::Uid, _>(Id($user.0))
        .sql(")")
    };
}
pub(super) use shared_with;

/// What a list asks of the chat's row in `chat_diff_statuses`.
macro_rules! diff {
    ($condition:literal, $ty:ty, $value:expr, $end:literal) => {
        sql::<Bool>(concat!(
            "EXISTS (SELECT 1 FROM chat_diff_statuses d WHERE d.chat_id = chats.id AND ",
            $condition
        ))
        .bind::<$ty, _>($value)
        .sql($end)
    };
}

/// Root chats in list order with their children: pinned by place, then newest update first, then id.
/// Chats of others are not pinned for the reader.
pub async fn list(conn: &mut Conn, f: ListFilter) -> Result<Vec<ListedChat>> {
    let mut query = chats::table
        .filter(chats::parent_chat_id.is_null())
        .filter(chats::archived.eq(f.archived))
        .select(ChatRow::as_select())
        .into_boxed();
    query = if f.shared {
        query.filter(chats::owner_id.ne(Id(f.owner.0))).filter(shared_with!(f.owner))
    } else {
        query.filter(chats::owner_id.eq(Id(f.owner.0)))
    };
    if let Some(title) = &f.title {
        query = query.filter(title_contains!(title));
    }
    if let Some(status) = f.status {
        query = query.filter(chats::status.eq(status.as_str()));
    }
    for (key, value) in &f.labels {
        query = query.filter(label_is!(key, value));
    }
    if let Some(words) = &f.words {
        let owners = if f.shared { sharing_owners(conn, f.owner).await? } else { vec![f.owner] };
        if words.is_empty() || owners.is_empty() {
            return Ok(Vec::new());
        }
        query = query.filter(said!(words, &owners));
    }
    if let Some(states) = f.diff.states {
        query = query.filter(
            sql::<Bool>(
                "CASE coalesce((SELECT CASE WHEN d.pull_request_state = 'open' AND d.pull_request_draft \
                 THEN 'draft' ELSE d.pull_request_state END FROM chat_diff_statuses d \
                 WHERE d.chat_id = chats.id), 'none') WHEN 'draft' THEN ",
            )
            .bind::<Bool, _>(states.draft)
            .sql(" WHEN 'open' THEN ")
            .bind::<Bool, _>(states.open)
            .sql(" WHEN 'merged' THEN ")
            .bind::<Bool, _>(states.merged)
            .sql(" WHEN 'closed' THEN ")
            .bind::<Bool, _>(states.closed)
            .sql(" WHEN 'none' THEN ")
            .bind::<Bool, _>(states.none)
            .sql(" ELSE (1 = 0) END"),
        );
    }
    if let Some(url) = &f.diff.url {
        query = query.filter(diff!("d.url = ", Text, url.clone(), ")"));
    }
    if let Some(number) = f.diff.number {
        query = query.filter(diff!("d.pr_number = ", BigInt, number, ")"));
    }
    if let Some(repository) = &f.diff.repository {
        query = query.filter(diff!("d.repository = ", Text, repository.to_lowercase(), ")"));
    }
    if let Some(title) = &f.diff.title {
        query = query.filter(pull_request_contains!(title));
    }
    if let Some(is_unread) = f.has_unread {
        query = if is_unread { query.filter(unread!()) } else { query.filter(not(unread!())) };
    }
    if let Some(after) = f.after {
        let cursor: Option<(Id, i64, Ts)> = chats::table
            .find(Id(after.0))
            .select((chats::owner_id, chats::pin_order, chats::updated_at))
            .first(conn)
            .await
            .optional()?;
        let Some((owner, pin, updated)) = cursor else { return Ok(Vec::new()) };
        if f.shared == (owner.0 == f.owner.0) {
            return Ok(Vec::new());
        }
        let older =
            chats::updated_at.lt(updated).or(chats::updated_at.eq(updated).and(chats::id.lt(Id(after.0))));
        query = match (f.shared, pin > 0) {
            (true, _) => query.filter(older),
            (false, true) => query.filter(chats::pin_order.gt(pin).or(chats::pin_order.eq(0))),
            (false, false) => query.filter(chats::pin_order.eq(0)).filter(older),
        };
    }
    if !f.shared {
        query = query.order((chats::pin_order.eq(0).asc(), chats::pin_order.asc()));
    }
    let rows: Vec<ChatRow> = query
        .then_order_by(chats::updated_at.desc())
        .then_order_by(chats::id.desc())
        .limit(f.limit)
        .offset(f.offset)
        .load(conn)
        .await?;
    families(conn, rows, f.archived).await
}

/// Whose chats are shared with a user.
async fn sharing_owners(conn: &mut Conn, user: UserId) -> Result<Vec<UserId>> {
    let ids: Vec<Id> = chats::table
        .filter(shared_with!(user))
        .select(chats::owner_id)
        .distinct()
        .limit(SEARCHED_OWNERS)
        .load(conn)
        .await?;
    Ok(ids.into_iter().map(|id| UserId(id.0)).collect())
}

/// A chat as a list has it, with its children if it is a root.
pub async fn family(conn: &mut Conn, id: ChatId) -> Result<ListedChat> {
    let row: ChatRow = chats::table.find(Id(id.0)).select(ChatRow::as_select()).first(conn).await?;
    let archived = row.head.archived;
    let mut found = families(conn, vec![row], archived).await?;
    found.pop().ok_or(crate::store::Error::NotFound)
}

/// The sub-agent chats of some roots, newest first.
async fn children(conn: &mut Conn, roots: &[Id], archived: bool) -> Result<Vec<ChatRow>> {
    let rows = chats::table
        .filter(chats::root_chat_id.eq_any(roots.to_vec()))
        .filter(chats::parent_chat_id.is_not_null())
        .filter(chats::archived.eq(archived))
        .order((chats::created_at.desc(), chats::id.desc()))
        .select(ChatRow::as_select())
        .load(conn)
        .await?;
    Ok(rows)
}

/// Adds to chats what a list shows beside their rows: four statements for the whole page.
async fn families(conn: &mut Conn, rows: Vec<ChatRow>, archived: bool) -> Result<Vec<ListedChat>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let roots: Vec<Id> = rows.iter().filter(|r| r.head.parent_chat_id.is_none()).map(|r| r.head.id).collect();
    let mut below = Vec::new();
    if !roots.is_empty() {
        below = children(conn, &roots, archived).await?;
    }
    let ids: Vec<Id> = rows.iter().chain(&below).map(|r| r.head.id).collect();
    let mut unread: HashSet<Uuid> = HashSet::new();
    for part in ids.chunks(MOST_BINDS) {
        let found: Vec<Id> = chats::table
            .filter(chats::id.eq_any(part.to_vec()))
            .filter(unread!())
            .select(chats::id)
            .load(conn)
            .await?;
        unread.extend(found.into_iter().map(|id| id.0));
    }
    let shared = sharing::shared_among(conn, rows.iter().map(|r| r.root_chat_id).collect()).await?;
    let mut diffs = diffs::of(conn, &ids).await?;
    let mut listed = |row: ChatRow| -> Result<ListedChat> {
        let id = row.head.id.0;
        Ok(ListedChat {
            has_unread: unread.contains(&id),
            shared: shared.contains(&row.root_chat_id.0),
            diff: diffs.remove(&id),
            chat: ChatRecord::try_from(row)?,
            children: Vec::new(),
        })
    };
    let mut by_root: HashMap<ChatId, Vec<ListedChat>> = HashMap::new();
    for row in below {
        let child = listed(row)?;
        by_root.entry(child.chat.root_chat_id).or_default().push(child);
    }
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let mut root = listed(row)?;
        root.children = by_root.remove(&root.chat.head.id).unwrap_or_default();
        all.push(root);
    }
    Ok(all)
}

/// For each of some workspaces the newest chat, not archived, that a reader may see: a root before a
/// sub-agent chat that works in the same one.
pub async fn by_workspace(
    conn: &mut Conn,
    workspaces: Vec<WorkspaceId>,
    reader: UserId,
    whose: Readable,
) -> Result<Vec<(WorkspaceId, ChatId)>> {
    let ids: Vec<Id> = workspaces.iter().map(|w| Id(w.0)).collect();
    let mut query = chats::table
        .filter(wide::workspace_id.eq_any(ids))
        .filter(chats::archived.eq(false))
        .select((wide::workspace_id, chats::id))
        .order((chats::parent_chat_id.is_null().desc(), chats::created_at.desc(), chats::id.desc()))
        .into_boxed();
    query = match whose {
        Readable::Own => query.filter(chats::owner_id.eq(Id(reader.0))),
        Readable::OwnAndShared => query.filter(chats::owner_id.eq(Id(reader.0)).or(shared_with!(reader))),
        Readable::All => query,
    };
    let rows: Vec<(Option<Id>, Id)> = query.load(conn).await?;
    let mut seen = HashSet::new();
    Ok(rows
        .into_iter()
        .filter_map(|(workspace, chat)| Some((workspace?, chat)))
        .filter(|(workspace, _)| seen.insert(workspace.0))
        .map(|(workspace, chat)| (WorkspaceId(workspace.0), ChatId(chat.0)))
        .collect())
}
