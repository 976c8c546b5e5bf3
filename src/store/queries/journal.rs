//! The journal of tool calls that must not run twice (DESIGN.md §4).

use super::{Conn, Statement};
use crate::{
    chat::json::Json,
    clock::Timestamp,
    ids::ChatId,
    store::{
        error::{Error, Result},
        records::journal::{Batch, Entry, NewEntry},
        schema::chats,
        types::{Id, Raw, Ts, sql},
    },
};
use diesel::{
    QueryableByName,
    prelude::*,
    sql_types::{BigInt, Nullable, Text},
};
use diesel_async::RunQueryDsl;

#[derive(QueryableByName)]
struct EntryRow {
    #[diesel(sql_type = Text)]
    tool_call_id: String,
    #[diesel(sql_type = Nullable<sql::JsonText>)]
    outcome: Option<Raw>,
}

/// A call's id as it is stored: providers choose ids, and PostgreSQL takes no text with a NUL in it.
fn storable(id: &str) -> String {
    id.replace('\0', "%00")
}

/// Enters calls that are about to start. Returns those that were entered before: they are not to be
/// started again. What was entered at this very moment was so by an earlier try of the same work, whose
/// answer was lost, and has not started. A chat that somebody else drives by now, or that has moved on, is [`Error::Stale`].
pub async fn begin(
    conn: &mut Conn,
    batch: Batch,
    calls: Vec<NewEntry>,
    now: Timestamp,
) -> Result<Vec<Entry>> {
    // The lock keeps a claim by somebody else behind these entries.
    let ours: Option<Id> = for_update!(
        chats::table
            .filter(chats::id.eq(Id(batch.chat.0)))
            .filter(chats::runner_id.eq(Id(batch.runner.0)))
            .filter(chats::history_version.eq(batch.history_version))
            .filter(chats::status.eq("running"))
            .select(chats::id)
    )
    .first(conn)
    .await
    .optional()?;
    if ours.is_none() {
        return Err(Error::Stale);
    }
    let mut s = Statement::default();
    s.sql("DELETE FROM tool_journal WHERE chat_id = ").bind::<sql::Uid, _>(Id(batch.chat.0));
    s.sql(" AND history_version < ").bind::<BigInt, _>(batch.history_version);
    s.execute(conn).await?;
    let mut s = Statement::default();
    s.sql("SELECT tool_call_id, outcome FROM tool_journal WHERE chat_id = ");
    s.bind::<sql::Uid, _>(Id(batch.chat.0)).sql(" AND history_version = ");
    s.bind::<BigInt, _>(batch.history_version);
    s.sql(" AND (outcome IS NOT NULL OR started_at <> ").bind::<sql::Moment, _>(Ts(now)).sql(")");
    let known: Vec<EntryRow> = s.load(conn).await?;
    let mut known: Vec<Entry> = known
        .into_iter()
        .map(|k| Entry { tool_call_id: k.tool_call_id, outcome: k.outcome.map(|raw| raw.0) })
        .collect();
    for call in calls {
        let id = storable(&call.tool_call_id);
        if let Some(entry) = known.iter_mut().find(|entry| entry.tool_call_id == id) {
            entry.tool_call_id = call.tool_call_id;
            continue;
        }
        let mut s = Statement::default();
        s.sql("INSERT INTO tool_journal (chat_id, history_version, tool_call_id, tool_name, started_at) VALUES (");
        s.bind::<sql::Uid, _>(Id(batch.chat.0)).sql(", ").bind::<BigInt, _>(batch.history_version);
        s.sql(", ").bind::<Text, _>(id).sql(", ").bind::<Text, _>(call.tool_name);
        s.sql(", ").bind::<sql::Moment, _>(Ts(now));
        // A model that names two calls of a step alike has two calls with one entry.
        s.sql(") ON CONFLICT DO NOTHING");
        s.execute(conn).await?;
    }
    Ok(known)
}

/// Keeps what came of a call. An entry that left meanwhile needs nothing kept.
pub async fn end(conn: &mut Conn, batch: Batch, tool_call_id: String, outcome: Json) -> Result<()> {
    let mut s = Statement::default();
    s.sql("UPDATE tool_journal SET outcome = ").bind::<sql::JsonText, _>(Raw(outcome));
    s.sql(" WHERE chat_id = ").bind::<sql::Uid, _>(Id(batch.chat.0)).sql(" AND history_version = ");
    s.bind::<BigInt, _>(batch.history_version);
    s.sql(" AND tool_call_id = ").bind::<Text, _>(storable(&tool_call_id));
    s.execute(conn).await?;
    Ok(())
}

/// The calls of a chat are answered.
pub async fn close(conn: &mut Conn, chat: ChatId) -> Result<()> {
    let mut s = Statement::default();
    s.sql("DELETE FROM tool_journal WHERE chat_id = ").bind::<sql::Uid, _>(Id(chat.0));
    s.execute(conn).await?;
    Ok(())
}
