//! The one consistent read from which subscribers are brought up to date. Runs inside a read
//! transaction, so that everything in the answer belongs to one snapshot.

use super::{Conn, messages, open_calls};
use crate::{
    chat::state::{Status, Versions},
    ids::ChatId,
    store::{
        error::Result,
        records::{Head, JoinFrom, MessageRow, PendingCall, QueuedRow, StreamRead},
        rows::{HeadRow, SelectMessage},
        schema::{chat_messages, chats},
        types::Id,
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

/// What a chat's subscribers need: the change since `since` for those that are up to date, and one
/// read for each join.
pub async fn read(
    conn: &mut Conn,
    chat: ChatId,
    since: Option<Versions>,
    joins: Vec<JoinFrom>,
) -> Result<(Head, Option<StreamRead>, Vec<StreamRead>)> {
    let row: HeadRow = chats::table.find(Id(chat.0)).select(HeadRow::as_select()).first(conn).await?;
    let pending = pending_of(conn, &row).await?;
    let head = row.head()?;
    let mut queue = None;
    let moved = |v: Option<Versions>| v.is_none_or(|v| v.queue < head.versions.queue);
    let main = match since {
        Some(v) if v.snapshot < head.versions.snapshot => {
            let (messages, reset) = if v.history < head.versions.history {
                changed(conn, chat, v.snapshot).await?
            } else {
                (Vec::new(), false)
            };
            if moved(since) {
                queue = Some(messages::queue(conn, chat).await?);
            }
            Some(StreamRead {
                head: head.clone(),
                reset,
                messages,
                queue: queue.clone(),
                pending: pending.clone(),
            })
        }
        _ => None,
    };
    let mut reads = Vec::with_capacity(joins.len());
    if !joins.is_empty() && queue.is_none() && head.versions.queue > 0 {
        queue = Some(messages::queue(conn, chat).await?);
    }
    // Subscribers that join from the same place share one query.
    let mut known: Vec<(JoinFrom, StreamRead)> = Vec::new();
    for join in joins {
        if let Some((_, read)) = known.iter().find(|(j, _)| *j == join) {
            reads.push(read.clone());
            continue;
        }
        let read = joined(conn, &head, join, queue.clone(), pending.clone()).await?;
        known.push((join, read.clone()));
        reads.push(read);
    }
    Ok((head, main, reads))
}

async fn joined(
    conn: &mut Conn,
    head: &Head,
    join: JoinFrom,
    queue: Option<Vec<QueuedRow>>,
    pending: Vec<PendingCall>,
) -> Result<StreamRead> {
    let (messages, reset) = match join {
        JoinFrom::AfterId(Some(after)) if deleted_since(conn, head.id, after, 0).await? => {
            (visible(conn, head.id, None).await?, true)
        }
        JoinFrom::AfterId(after) => (visible(conn, head.id, after).await?, false),
        JoinFrom::Revision(r) => changed(conn, head.id, r).await?,
        JoinFrom::Resume { revision, .. } if deleted_since(conn, head.id, 0, revision).await? => {
            (visible(conn, head.id, None).await?, true)
        }
        JoinFrom::Resume { after_id, revision } => (resumed(conn, head.id, after_id, revision).await?, false),
    };
    Ok(StreamRead { head: head.clone(), reset, messages, queue, pending })
}

/// Whether a client-visible row from this id on was soft-deleted after this revision.
async fn deleted_since(conn: &mut Conn, chat: ChatId, from_id: i64, revision: i64) -> Result<bool> {
    let found: Option<i64> = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::id.ge(from_id))
        .filter(chat_messages::revision.gt(revision))
        .filter(chat_messages::deleted.eq(true))
        .filter(chat_messages::visibility.ne("model"))
        .select(chat_messages::id)
        .first(conn)
        .await
        .optional()?;
    Ok(found.is_some())
}

/// Client-visible messages with a greater id or a greater revision.
async fn resumed(conn: &mut Conn, chat: ChatId, after_id: i64, revision: i64) -> Result<Vec<MessageRow>> {
    let ours = || chat_messages::chat_id.eq(Id(chat.0));
    // The chat in both halves, so that each has its index and nothing older is looked at.
    let newer =
        ours().and(chat_messages::id.gt(after_id)).or(ours().and(chat_messages::revision.gt(revision)));
    let rows: Vec<SelectMessage> = chat_messages::table
        .filter(newer)
        .filter(chat_messages::deleted.eq(false))
        .filter(chat_messages::visibility.ne("model"))
        .order(chat_messages::id.asc())
        .select(SelectMessage::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Client-visible messages above an id.
async fn visible(conn: &mut Conn, chat: ChatId, after: Option<i64>) -> Result<Vec<MessageRow>> {
    let rows: Vec<SelectMessage> = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::id.gt(after.unwrap_or(0)))
        .filter(chat_messages::deleted.eq(false))
        .filter(chat_messages::visibility.ne("model"))
        .order(chat_messages::id.asc())
        .select(SelectMessage::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Visible messages with a newer revision; when one of them was soft-deleted, all that are left.
async fn changed(conn: &mut Conn, chat: ChatId, revision: i64) -> Result<(Vec<MessageRow>, bool)> {
    let rows: Vec<SelectMessage> = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::revision.gt(revision))
        .filter(chat_messages::visibility.ne("model"))
        .order(chat_messages::id.asc())
        .select(SelectMessage::as_select())
        .load(conn)
        .await?;
    if rows.iter().any(|r| r.deleted) {
        return Ok((visible(conn, chat, None).await?, true));
    }
    Ok((rows.into_iter().map(TryInto::try_into).collect::<Result<_>>()?, false))
}

/// The pending client-side calls of a chat.
pub async fn pending(conn: &mut Conn, chat: ChatId) -> Result<Vec<PendingCall>> {
    let row: HeadRow = chats::table.find(Id(chat.0)).select(HeadRow::as_select()).first(conn).await?;
    pending_of(conn, &row).await
}

/// The same with the chat's row at hand.
async fn pending_of(conn: &mut Conn, row: &HeadRow) -> Result<Vec<PendingCall>> {
    if row.status != Status::RequiresAction.as_str() {
        return Ok(Vec::new());
    }
    let names = open_calls::dynamic_names(row.dynamic_tools.as_ref().map(|r| &r.0))?;
    let open = open_calls::load(conn, ChatId(row.id.0)).await?;
    Ok(open.into_iter().filter(|c| names.contains(&c.tool_name)).collect())
}

/// All open calls of committed history, for the end of an interruption.
pub async fn open(conn: &mut Conn, chat: ChatId) -> Result<Vec<PendingCall>> {
    open_calls::load(conn, chat).await
}
