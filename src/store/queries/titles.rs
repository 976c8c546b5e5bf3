//! Titles that a model makes on request: who may make one, and of what.

use super::Conn;
use crate::{
    clock::Timestamp,
    ids::ChatId,
    store::{
        error::Result,
        records::{MessageRow, TitleLock},
        rows::SelectMessage,
        schema::{chat_messages, title_locks},
        types::{Id, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::time::Duration;

/// Age at which a lock is no longer believed: its holder died (agent-loop.md §14.3).
const STALE: Duration = Duration::from_secs(60);
/// Messages from each end of a chat that a title is made of (agent-loop.md §14.3).
const FROM_EACH_END: i64 = 50;

/// Takes the right to make a chat's title; `false` when somebody else has it.
pub async fn lock(conn: &mut Conn, lock: TitleLock, now: Timestamp) -> Result<bool> {
    let of_chat = title_locks::table.find(Id(lock.chat.0));
    diesel::delete(of_chat.filter(title_locks::started_at.le(Ts(now - STALE)))).execute(conn).await?;
    let taken = diesel::insert_into(title_locks::table)
        .values((
            title_locks::chat_id.eq(Id(lock.chat.0)),
            title_locks::holder.eq(Id(lock.holder)),
            title_locks::started_at.eq(Ts(now)),
        ))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    Ok(taken == 1)
}

/// Gives it back, unless another has taken it since.
pub async fn unlock(conn: &mut Conn, lock: TitleLock) -> Result<()> {
    diesel::delete(title_locks::table.find(Id(lock.chat.0)).filter(title_locks::holder.eq(Id(lock.holder))))
        .execute(conn)
        .await?;
    Ok(())
}

/// What was said to be seen, from both ends of the chat, ascending.
pub async fn material(conn: &mut Conn, chat: ChatId) -> Result<Vec<MessageRow>> {
    let said = || {
        chat_messages::table
            .filter(chat_messages::chat_id.eq(Id(chat.0)))
            .filter(chat_messages::deleted.eq(false))
            .filter(chat_messages::visibility.ne("model"))
            .filter(chat_messages::role.eq_any(["user", "assistant"]))
            .select(SelectMessage::as_select())
            .limit(FROM_EACH_END)
    };
    let mut rows: Vec<SelectMessage> = said().order(chat_messages::id.asc()).load(conn).await?;
    let last: Vec<SelectMessage> = said().order(chat_messages::id.desc()).load(conn).await?;
    let seen = rows.last().map_or(0, |r| r.id);
    rows.extend(last.into_iter().rev().filter(|r| r.id > seen));
    rows.into_iter().map(TryInto::try_into).collect()
}
