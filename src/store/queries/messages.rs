//! Reads of history and queue.

use super::Conn;
use crate::{
    chat::message::Part,
    ids::{ChatId, MessageId},
    store::{
        error::{Error, Result},
        records::{MessageRow, PageSpec, QueuedRow},
        rows::{SelectMessage, SelectQueued},
        schema::{chat_messages, chat_queued_messages},
        types::{Id, Raw},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

/// A page of client-visible messages and whether more follow. Newest first; oldest first when only
/// `after` is given.
pub async fn page(conn: &mut Conn, chat: ChatId, p: PageSpec) -> Result<(Vec<MessageRow>, bool)> {
    let mut query = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::deleted.eq(false))
        .filter(chat_messages::visibility.ne("model"))
        .select(SelectMessage::as_select())
        .into_boxed();
    if let Some(before) = p.before {
        query = query.filter(chat_messages::id.lt(before));
    }
    if let Some(after) = p.after {
        query = query.filter(chat_messages::id.gt(after));
    }
    let forward = p.after.is_some() && p.before.is_none();
    query =
        if forward { query.order(chat_messages::id.asc()) } else { query.order(chat_messages::id.desc()) };
    let mut rows: Vec<SelectMessage> = query.limit(p.limit + 1).load(conn).await?;
    let limit = usize::try_from(p.limit).unwrap_or(0);
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok((rows.into_iter().map(TryInto::try_into).collect::<Result<_>>()?, more))
}

/// The texts that users wrote in a chat, newest first; messages without text are left out.
pub async fn prompts(conn: &mut Conn, chat: ChatId, limit: i64) -> Result<Vec<(MessageId, String)>> {
    let limit = usize::try_from(limit).unwrap_or(0);
    let mut found = Vec::new();
    let mut before = i64::MAX;
    while found.len() < limit {
        let wanted = limit - found.len();
        let rows: Vec<(i64, Raw)> = chat_messages::table
            .filter(chat_messages::chat_id.eq(Id(chat.0)))
            .filter(chat_messages::id.lt(before))
            .filter(chat_messages::role.eq("user"))
            .filter(chat_messages::visibility.ne("model"))
            .filter(chat_messages::deleted.eq(false))
            .order(chat_messages::id.desc())
            .select((chat_messages::id, chat_messages::content))
            .limit(i64::try_from(wanted).unwrap_or(i64::MAX))
            .load(conn)
            .await?;
        let last = rows.len() < wanted;
        for (id, content) in rows {
            before = id;
            let parts: Vec<Part> =
                content.0.read().map_err(|e| Error::Corrupt(format!("content of message {id}: {e}")))?;
            let texts = parts.iter().filter_map(|part| match part {
                Part::Text { text } => Some(text.as_str()),
                _ => None,
            });
            let text = texts.collect::<Vec<_>>().join("\n");
            if !text.trim().is_empty() {
                found.push((MessageId(id), text));
            }
        }
        if last {
            break;
        }
    }
    Ok(found)
}

/// The whole active history, ascending; a turn reads less ([`super::turn`]).
#[cfg(test)]
pub async fn history(conn: &mut Conn, chat: ChatId) -> Result<Vec<MessageRow>> {
    let rows: Vec<SelectMessage> = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::deleted.eq(false))
        .order(chat_messages::id.asc())
        .select(SelectMessage::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The queue in processing order.
pub async fn queue(conn: &mut Conn, chat: ChatId) -> Result<Vec<QueuedRow>> {
    let rows: Vec<SelectQueued> = chat_queued_messages::table
        .filter(chat_queued_messages::chat_id.eq(Id(chat.0)))
        // Messages queued by one transaction share a position.
        .order((chat_queued_messages::position.asc(), chat_queued_messages::id.asc()))
        .select(SelectQueued::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// One message that is not deleted.
pub async fn get(conn: &mut Conn, chat: ChatId, id: MessageId) -> Result<MessageRow> {
    super::commit::message(conn, chat, id).await
}
