//! What a pass of a turn reads: as much of the history as can matter to it, and no more.

use super::{Conn, chats};
use crate::{
    chat::message::{Part, Role, Visibility},
    ids::ChatId,
    store::{
        error::Result,
        records::{MessageRow, TurnRead},
        rows::SelectMessage,
        schema::{chat_messages, chats as chats_table},
        types::Id,
    },
};
use diesel::{prelude::*, sql_types};
use diesel_async::RunQueryDsl;

/// Rows fetched at first on the way back from a summary; a step with more results than this costs
/// further statements.
const FIRST_PAGE: i64 = 8;
/// Rows fetched after that.
const NEXT_PAGE: i64 = 64;

diesel::alias!(chat_messages as older: Older);

#[diesel::declare_sql_function]
extern "SQL" {
    fn coalesce(x: sql_types::Nullable<sql_types::BigInt>, otherwise: sql_types::BigInt)
    -> sql_types::BigInt;
}

/// The chat with the rows of its active history that can matter to its prompt, its next decision and
/// its interruption (agent-loop.md §3, §5.1, §13), ascending:
/// - every row from the latest summary on; the whole history when there is none;
/// - of what is older, the system rows that are not compressed,
/// - and, unless somebody has written since the summary, the rows back to the last model step or
///   user message: they say whether the turn is over, and whether it was a stop-after tool.
///
/// - and the newest row in which the workspace says what its project is: system texts are made from it
///   (agent-loop.md §5.3).
pub async fn turn(conn: &mut Conn, chat: ChatId) -> Result<TurnRead> {
    let record = chats::get(conn, chat).await?;
    let recent = since_summary(conn, chat).await?;
    let summary = recent.as_slice().first().filter(|r| r.compressed && r.visibility == Visibility::Model);
    let Some(summary) = summary.map(|r| r.id.0) else {
        return Ok(TurnRead { chat: record, rows: recent, earlier_steps: 0 });
    };
    let mut rows = system_rows(conn, chat, summary).await?;
    let mut earlier_steps = 0;
    let of_workspace = match record.last_injected_context {
        Some(_) => workspace_row(conn, chat, summary).await?,
        None => None,
    };
    if !recent.iter().any(|r| r.role == Role::User && opens_turn(r)) {
        let mut tail = last_step_or_user(conn, chat, summary).await?;
        if let Some(step) = tail.as_slice().first().filter(|r| r.role == Role::Assistant) {
            earlier_steps = steps_before(conn, chat, step.id.0).await?;
        }
        // It may stand in this tail, or before it.
        let of_workspace = of_workspace.filter(|row| tail.iter().all(|known| known.id != row.id));
        let at = of_workspace.as_ref().map_or(0, |row| tail.partition_point(|known| known.id < row.id));
        rows.extend(tail.drain(..at));
        rows.extend(of_workspace);
        rows.extend(tail);
    } else {
        rows.extend(of_workspace);
    }
    rows.extend(recent);
    Ok(TurnRead { chat: record, rows, earlier_steps })
}

/// The active history from the latest summary on. Latest by id: ids ascend under the chat's lock,
/// while the clocks of two replicas may disagree.
async fn since_summary(conn: &mut Conn, chat: ChatId) -> Result<Vec<MessageRow>> {
    let summary = older
        .filter(older.field(chat_messages::chat_id).eq(Id(chat.0)))
        .filter(older.field(chat_messages::deleted).eq(false))
        .filter(older.field(chat_messages::visibility).eq("model"))
        .filter(older.field(chat_messages::compressed).eq(true))
        .order(older.field(chat_messages::id).desc())
        .select(older.field(chat_messages::id))
        .limit(1)
        .single_value();
    let rows: Vec<SelectMessage> = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::id.ge(coalesce(summary, 0)))
        .filter(chat_messages::deleted.eq(false))
        .order(chat_messages::id.asc())
        .select(SelectMessage::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The system rows below an id. They are written when a chat is created (agent-loop.md §5.6), so the
/// index finds them by their revision, without a walk through the history.
async fn system_rows(conn: &mut Conn, chat: ChatId, below: i64) -> Result<Vec<MessageRow>> {
    let rows: Vec<SelectMessage> = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::revision.eq(1))
        .filter(chat_messages::role.eq("system"))
        .filter(chat_messages::id.lt(below))
        .filter(chat_messages::deleted.eq(false))
        .filter(chat_messages::compressed.eq(false))
        .order(chat_messages::id.asc())
        .select(SelectMessage::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The newest row below an id in which the workspace says what its project is: of the rows of users, only those have a
/// native form. There is an index for them.
async fn workspace_row(conn: &mut Conn, chat: ChatId, below: i64) -> Result<Option<MessageRow>> {
    let row: Option<SelectMessage> = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(diesel::dsl::sql::<sql_types::Bool>("role = 'user'"))
        .filter(chat_messages::native.is_not_null())
        .filter(chat_messages::id.lt(below))
        .filter(chat_messages::deleted.eq(false))
        .order(chat_messages::id.desc())
        .select(SelectMessage::as_select())
        .first(conn)
        .await
        .optional()?;
    row.map(TryInto::try_into).transpose()
}

/// The rows below an id from the last model step or user message on, ascending.
async fn last_step_or_user(conn: &mut Conn, chat: ChatId, mut below: i64) -> Result<Vec<MessageRow>> {
    let mut tail = Vec::new();
    let mut page = FIRST_PAGE;
    loop {
        let rows: Vec<SelectMessage> = chat_messages::table
            .filter(chat_messages::chat_id.eq(Id(chat.0)))
            .filter(chat_messages::id.lt(below))
            .filter(chat_messages::deleted.eq(false))
            .filter(chat_messages::compressed.eq(false))
            .order(chat_messages::id.desc())
            .limit(page)
            .select(SelectMessage::as_select())
            .load(conn)
            .await?;
        let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) == page;
        for row in rows {
            below = row.id;
            let row = MessageRow::try_from(row)?;
            let found = opens_turn(&row);
            if row.role != Role::System {
                tail.push(row);
            }
            if found {
                tail.reverse();
                return Ok(tail);
            }
        }
        if !full {
            tail.reverse();
            return Ok(tail);
        }
        page = NEXT_PAGE;
    }
}

/// Whether somebody sent this row, or the model made it as a step. Rows that only persist workspace
/// context, or only show what a tool attached, are neither.
fn opens_turn(row: &MessageRow) -> bool {
    if row.compressed {
        return false;
    }
    // Content that this build cannot read counts: it is not one of those two.
    let parts: Vec<Part> = row.content.read().unwrap_or_default();
    let other = |only: fn(&Part) -> bool| parts.is_empty() || !parts.iter().all(only);
    match row.role {
        Role::User => other(|p| matches!(p, Part::ContextFile { .. } | Part::Skill { .. })),
        Role::Assistant => other(|p| matches!(p, Part::File { .. })),
        Role::System | Role::Tool => false,
    }
}

/// Model steps of the same turn before an id: since the last user message below it.
async fn steps_before(conn: &mut Conn, chat: ChatId, below: i64) -> Result<usize> {
    let user = older
        .filter(older.field(chat_messages::chat_id).eq(Id(chat.0)))
        .filter(older.field(chat_messages::id).lt(below))
        .filter(older.field(chat_messages::deleted).eq(false))
        .filter(older.field(chat_messages::compressed).eq(false))
        .filter(older.field(chat_messages::role).eq("user"))
        .filter(older.field(chat_messages::native).is_null())
        .order(older.field(chat_messages::id).desc())
        .select(older.field(chat_messages::id))
        .limit(1)
        .single_value();
    let steps: i64 = chat_messages::table
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::id.lt(below))
        .filter(chat_messages::id.gt(coalesce(user, 0)))
        .filter(chat_messages::deleted.eq(false))
        .filter(chat_messages::compressed.eq(false))
        .filter(chat_messages::role.eq("assistant"))
        .count()
        .get_result(conn)
        .await?;
    Ok(usize::try_from(steps).unwrap_or(0))
}

/// Whether a compaction has something to do: a model step that no summary covers, or, in a chat that
/// failed, anything at all, since there it is the way to go on (the turn is simply taken up again
/// when it has no step yet). The last row that could decide does.
pub async fn compactable(conn: &mut Conn, chat: ChatId) -> Result<bool> {
    let covered: Option<bool> = chat_messages::table
        .inner_join(chats_table::table.on(chats_table::id.eq(chat_messages::chat_id)))
        .filter(chat_messages::chat_id.eq(Id(chat.0)))
        .filter(chat_messages::deleted.eq(false))
        .filter(chat_messages::role.ne("system"))
        .filter(
            chat_messages::compressed
                .eq(true)
                .or(chat_messages::role.eq("assistant"))
                .or(chats_table::status.eq("error")),
        )
        .order(chat_messages::id.desc())
        .select(chat_messages::compressed)
        .first(conn)
        .await
        .optional()?;
    Ok(covered == Some(false))
}
