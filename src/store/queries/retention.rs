//! Chats that are archived because nothing happens in them, and chats that are deleted some time after
//! they were archived (agent-loop.md §20).

use super::{Conn, search};
use crate::{
    clock::Timestamp,
    ids::{ChatId, MessageId},
    store::{
        error::Result,
        records::IdleRoots,
        schema::{
            chat_acl, chat_diff_statuses, chat_files, chat_heartbeats, chat_messages, chat_queued_messages,
            chats, file_chunks, files, title_locks,
        },
        types::{Id, Ts, sql},
    },
};
use diesel::{
    dsl::{not, sql},
    prelude::*,
    sql_types::Bool,
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

/// Statuses in which nobody works on a chat.
const AT_REST: [&str; 2] = ["waiting", "error"];

/// The family of `chats` has a message, whosever, that is no older than what is bound next. Ids ascend
/// with time, so the last message of each member tells.
const SPOKE_SINCE: &str = "EXISTS (SELECT 1 FROM chats AS member WHERE member.root_chat_id = chats.root_chat_id \
     AND (SELECT newest.created_at FROM chat_messages AS newest WHERE newest.chat_id = member.id \
     AND NOT newest.deleted ORDER BY newest.id DESC LIMIT 1) >= ";

macro_rules! idle {
    ($since:expr) => {
        chats::table
            .filter(not(chats::archived))
            .filter(chats::parent_chat_id.is_null())
            .filter(chats::pin_order.eq(0))
            .filter(chats::status.eq_any(AT_REST))
            .filter(not(sql::<Bool>(SPOKE_SINCE).bind::<sql::Moment, _>(Ts($since)).sql(")")))
    };
}

/// Looks at the next `window` open root chats after one, in the order of their ids: which of them are at rest, not pinned,
/// and of families without a message since the moment. No row of a chat says when that was, so all of them are looked at in
/// the end, but each statement only at so many.
pub async fn idle_roots(
    conn: &mut Conn,
    since: Timestamp,
    after: Option<ChatId>,
    window: i64,
) -> Result<IdleRoots> {
    let after = Id(after.map_or(Uuid::nil(), |chat| chat.0));
    let open = chats::table.filter(not(chats::archived)).filter(chats::parent_chat_id.is_null());
    let ids: Vec<Id> = open
        .filter(chats::id.gt(after))
        .order(chats::id.asc())
        .limit(window)
        .select(chats::id)
        .load(conn)
        .await?;
    let Some(last) = ids.last().copied() else { return Ok(IdleRoots::default()) };
    let idle: Vec<Id> = idle!(since)
        .filter(chats::id.gt(after))
        .filter(chats::id.le(last))
        .order(chats::id.asc())
        .select(chats::id)
        .load(conn)
        .await?;
    Ok(IdleRoots { idle: idle.into_iter().map(|id| ChatId(id.0)).collect(), last: Some(ChatId(last.0)) })
}

/// Whether one of them still is such a chat.
pub(in crate::store) async fn is_idle(conn: &mut Conn, root: ChatId, since: Timestamp) -> Result<bool> {
    let found: Option<Id> =
        idle!(since).filter(chats::id.eq(Id(root.0))).select(chats::id).first(conn).await.optional()?;
    Ok(found.is_some())
}

/// Root chats that were archived before the moment, the longest ago first.
pub async fn expired_roots(conn: &mut Conn, before: Timestamp, limit: i64) -> Result<Vec<ChatId>> {
    let ids: Vec<Id> = chats::table
        .filter(chats::archived_at.lt(Ts(before)))
        .filter(chats::archived)
        .filter(chats::parent_chat_id.is_null())
        .order(chats::archived_at.asc())
        .limit(limit)
        .select(chats::id)
        .load(conn)
        .await?;
    Ok(ids.into_iter().map(|id| ChatId(id.0)).collect())
}

/// Deletes a family with all that belongs to it and the files that no other chat names; none of it when
/// somebody has brought it back or works on it. Returns how many chats were deleted.
pub async fn purge(conn: &mut Conn, root: ChatId, before: Timestamp) -> Result<usize> {
    let family: Vec<(Id, String, bool, Option<Ts>)> =
        for_update!(chats::table.filter(chats::root_chat_id.eq(Id(root.0))).order(chats::id.asc()).select((
            chats::id,
            chats::status,
            chats::archived,
            chats::archived_at
        )))
        .load(conn)
        .await?;
    let is_due = family.iter().any(|(id, _, _, at)| id.0 == root.0 && at.is_some_and(|at| at.0 < before));
    let at_rest = |status: &str| AT_REST.contains(&status);
    if !is_due || !family.iter().all(|(_, status, archived, _)| *archived && at_rest(status)) {
        return Ok(0);
    }
    let ids: Vec<Id> = family.iter().map(|(id, ..)| *id).collect();
    // Whatever points at a chat goes before it.
    let named = unlink_files(conn, &ids).await?;
    delete_orphans(conn, named).await?;
    for id in &ids {
        search::forget(conn, ChatId(id.0), MessageId(0)).await?;
    }
    diesel::delete(chat_diff_statuses::table.filter(chat_diff_statuses::chat_id.eq_any(ids.clone())))
        .execute(conn)
        .await?;
    diesel::delete(chat_acl::table.filter(chat_acl::root_chat_id.eq(Id(root.0)))).execute(conn).await?;
    diesel::delete(title_locks::table.filter(title_locks::chat_id.eq_any(ids.clone()))).execute(conn).await?;
    diesel::delete(chat_heartbeats::table.filter(chat_heartbeats::chat_id.eq_any(ids.clone())))
        .execute(conn)
        .await?;
    diesel::delete(chat_queued_messages::table.filter(chat_queued_messages::chat_id.eq_any(ids.clone())))
        .execute(conn)
        .await?;
    diesel::delete(chat_messages::table.filter(chat_messages::chat_id.eq_any(ids.clone())))
        .execute(conn)
        .await?;
    Ok(diesel::delete(chats::table.filter(chats::id.eq_any(ids))).execute(conn).await?)
}

/// Takes the files of chats off them, and says which those were.
async fn unlink_files(conn: &mut Conn, chats: &[Id]) -> Result<Vec<Id>> {
    let of_chats = || chat_files::table.filter(chat_files::chat_id.eq_any(chats.to_vec()));
    let named = of_chats().select(chat_files::file_id).distinct().load(conn).await?;
    if !named.is_empty() {
        diesel::delete(of_chats()).execute(conn).await?;
    }
    Ok(named)
}

/// Deletes those files that no chat names any more.
async fn delete_orphans(conn: &mut Conn, named: Vec<Id>) -> Result<()> {
    if named.is_empty() {
        return Ok(());
    }
    // Whoever links a file locks its row first: under the lock nobody comes to name it.
    let locked: Vec<Id> =
        for_update!(files::table.filter(files::id.eq_any(named)).order(files::id.asc()).select(files::id))
            .load(conn)
            .await?;
    let kept: Vec<Id> = chat_files::table
        .filter(chat_files::file_id.eq_any(locked.clone()))
        .select(chat_files::file_id)
        .load(conn)
        .await?;
    let orphans: Vec<Id> = locked.into_iter().filter(|id| !kept.contains(id)).collect();
    diesel::delete(file_chunks::table.filter(file_chunks::file_id.eq_any(orphans.clone())))
        .execute(conn)
        .await?;
    diesel::delete(files::table.filter(files::id.eq_any(orphans))).execute(conn).await?;
    Ok(())
}
