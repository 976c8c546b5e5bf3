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

/// Bytes of a history that whoever joins gets from one read; the rest comes with the next ones. It bounds what is in memory
/// for a reader that does not take what it asked for.
const PAGE_BYTES: usize = 2 << 20;
/// What a message has as an event besides its content.
const ROW_BYTES: usize = 400;
/// Fewest and most rows that are asked for at once. Few at first: how large they are is not known.
const FIRST_ROWS: i64 = 32;
const MOST_ROWS: i64 = 2048;

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
                more: false,
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
    let (chat, top) = (head.id, None);
    let (reset, page) = match join {
        JoinFrom::AfterId(Some(after)) if deleted_since(conn, chat, after, 0).await? => {
            (true, page(conn, chat, top).await?)
        }
        JoinFrom::AfterId(after) => (false, page(conn, chat, after).await?),
        JoinFrom::Revision(r) => {
            let (messages, reset) = changed(conn, chat, r).await?;
            (reset, Page { messages, more: false })
        }
        JoinFrom::Resume { revision, .. } if deleted_since(conn, chat, 0, revision).await? => {
            (true, page(conn, chat, top).await?)
        }
        JoinFrom::Resume { after_id, revision } => {
            let mut messages = changed_up_to(conn, chat, after_id, revision).await?;
            let page = page(conn, chat, Some(after_id)).await?;
            messages.extend(page.messages);
            (false, Page { messages, ..page })
        }
    };
    let Page { messages, more } = page;
    Ok(StreamRead { head: head.clone(), reset, messages, more, queue, pending })
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

/// Client-visible messages up to an id that have changed after a revision.
async fn changed_up_to(conn: &mut Conn, chat: ChatId, up_to: i64, revision: i64) -> Result<Vec<MessageRow>> {
    let rows: Vec<SelectMessage> = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::revision.gt(revision))
        .filter(chat_messages::id.le(up_to))
        .filter(chat_messages::deleted.eq(false))
        .filter(chat_messages::visibility.ne("model"))
        .order(chat_messages::id.asc())
        .select(SelectMessage::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// A part of a history.
struct Page {
    messages: Vec<MessageRow>,
    /// There may be more behind it.
    more: bool,
}

/// Client-visible messages above an id, as many as make [`PAGE_BYTES`].
async fn page(conn: &mut Conn, chat: ChatId, after: Option<i64>) -> Result<Page> {
    let mut above = after.unwrap_or(0);
    let (mut messages, mut bytes) = (Vec::<MessageRow>::new(), 0);
    let mut wanted = FIRST_ROWS;
    loop {
        let rows: Vec<SelectMessage> = chat_messages::table
            .filter(chat_messages::chat_id.eq(Id(chat.0)))
            .filter(chat_messages::id.gt(above))
            .filter(chat_messages::deleted.eq(false))
            .filter(chat_messages::visibility.ne("model"))
            .order(chat_messages::id.asc())
            .limit(wanted)
            .select(SelectMessage::as_select())
            .load(conn)
            .await?;
        let is_last = i64::try_from(rows.len()).is_ok_and(|count| count < wanted);
        for row in rows {
            if bytes >= PAGE_BYTES {
                return Ok(Page { messages, more: true });
            }
            let row = MessageRow::try_from(row)?;
            bytes += row.content.get().len() + ROW_BYTES;
            above = row.id.0;
            messages.push(row);
        }
        if is_last {
            return Ok(Page { messages, more: false });
        }
        // As many as fill the page if they are like those before.
        let room = PAGE_BYTES.saturating_sub(bytes) / (bytes / messages.len()).max(1);
        wanted = i64::try_from(room).unwrap_or(MOST_ROWS).clamp(FIRST_ROWS, MOST_ROWS);
    }
}

/// All client-visible messages.
async fn visible(conn: &mut Conn, chat: ChatId) -> Result<Vec<MessageRow>> {
    let rows: Vec<SelectMessage> = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
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
        return Ok((visible(conn, chat).await?, true));
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
