//! Pull requests that chats made.

use super::{Conn, Statement, diffs};
use crate::{
    clock::Timestamp,
    ids::{ChatId, ModelConfigId},
    store::{
        error::Result,
        records::insights::PullRequest,
        types::{Id, Ts, sql},
    },
};
use diesel::{QueryableByName, sql_types::BigInt};
use diesel_async::RunQueryDsl;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = sql::Uid)]
    id: Id,
    #[diesel(sql_type = sql::Uid)]
    last_model_config_id: Id,
    #[diesel(sql_type = sql::Moment)]
    created_at: Ts,
    #[diesel(sql_type = BigInt)]
    cost: i64,
}

/// Those of chats that began from `start` until before `end`, the newest first.
pub async fn pull_requests(conn: &mut Conn, start: Timestamp, end: Timestamp) -> Result<Vec<PullRequest>> {
    let mut s = Statement::default();
    s.sql(
        "SELECT c.id, c.last_model_config_id, c.created_at, \
         CAST(COALESCE((SELECT SUM(l.cost_micros) FROM usage_ledger l WHERE l.root_chat_id = c.root_chat_id \
         AND (c.id = c.root_chat_id OR l.chat_id = c.id)), 0) AS BIGINT) AS cost \
         FROM chat_diff_statuses d JOIN chats c ON c.id = d.chat_id \
         WHERE d.pull_request_state IS NOT NULL AND c.created_at >= ",
    );
    s.bind::<sql::Moment, _>(Ts(start)).sql(" AND c.created_at < ").bind::<sql::Moment, _>(Ts(end));
    s.sql(" ORDER BY c.created_at DESC, c.id DESC");
    let rows: Vec<Row> = s.load(conn).await?;
    let ids: Vec<Id> = rows.iter().map(|row| row.id).collect();
    let mut known = diffs::of(conn, &ids).await?;
    let whole = rows.into_iter().filter_map(|row| {
        Some(PullRequest {
            diff: known.remove(&row.id.0)?,
            chat_id: ChatId(row.id.0),
            model_config_id: ModelConfigId(row.last_model_config_id.0),
            created_at: row.created_at.0,
            cost_micros: row.cost,
        })
    });
    Ok(whole.collect())
}
