//! Whether the rows fit together, as far as the database does not see to that itself.

use super::Conn;
use crate::{
    ids::ChatId,
    store::{
        error::Result,
        types::{Id, sql},
    },
};
use diesel::{
    prelude::*,
    sql_types::{BigInt, Bool, Text},
};
use diesel_async::RunQueryDsl;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Bool)]
    queued: bool,
    #[diesel(sql_type = Bool)]
    archived: bool,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = sql::Uid)]
    id: Id,
}

/// Some chats in a state.
pub async fn in_state(
    conn: &mut Conn,
    status: String,
    queued: bool,
    archived: bool,
    limit: i64,
) -> Result<Vec<ChatId>> {
    let found: Vec<Found> = diesel::sql_query(
        "SELECT id FROM chats WHERE status = $1 AND archived = $2 \
         AND EXISTS (SELECT 1 FROM chat_queued_messages q WHERE q.chat_id = chats.id) = $3 ORDER BY id LIMIT $4",
    )
    .bind::<Text, _>(status)
    .bind::<Bool, _>(archived)
    .bind::<Bool, _>(queued)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    Ok(found.into_iter().map(|found| ChatId(found.id.0)).collect())
}

/// How many chats there are by what their state is made of: the status, whether something is queued, and whether
/// they are archived.
pub async fn states(conn: &mut Conn) -> Result<Vec<(String, bool, bool, i64)>> {
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT status, queued, archived, count(*) AS n FROM (SELECT status, archived, \
         EXISTS (SELECT 1 FROM chat_queued_messages q WHERE q.chat_id = chats.id) AS queued FROM chats) AS s \
         GROUP BY status, queued, archived ORDER BY status, queued, archived",
    )
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.status, row.queued, row.archived, row.n)).collect())
}
