//! Sums of the ledger of model calls.

use super::{Conn, Statement};
use crate::{
    clock::Timestamp,
    ids::{ChatId, ModelConfigId, UserId},
    store::{
        error::Result,
        spend::{ChatCosts, ModelCosts, Spender, SpenderPage, Totals, UserCosts},
        types::{Id, Ts, sql},
    },
};
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use diesel_async::RunQueryDsl;

#[derive(QueryableByName)]
struct TotalsRow {
    #[diesel(sql_type = BigInt)]
    cost: i64,
    #[diesel(sql_type = BigInt)]
    calls: i64,
    #[diesel(sql_type = BigInt)]
    priced: i64,
    #[diesel(sql_type = BigInt)]
    input: i64,
    #[diesel(sql_type = BigInt)]
    output: i64,
    #[diesel(sql_type = BigInt)]
    cache_read: i64,
    #[diesel(sql_type = BigInt)]
    cache_creation: i64,
    #[diesel(sql_type = BigInt)]
    runtime: i64,
}

/// The columns of [`TotalsRow`] over a ledger called `l`.
const SUMS: &str = "CAST(COALESCE(SUM(l.cost_micros), 0) AS BIGINT) AS cost, COUNT(*) AS calls, \
     COUNT(l.cost_micros) AS priced, CAST(COALESCE(SUM(l.input_tokens), 0) AS BIGINT) AS input, \
     CAST(COALESCE(SUM(l.output_tokens), 0) AS BIGINT) AS output, \
     CAST(COALESCE(SUM(l.cache_read_tokens), 0) AS BIGINT) AS cache_read, \
     CAST(COALESCE(SUM(l.cache_creation_tokens), 0) AS BIGINT) AS cache_creation, \
     CAST(COALESCE(SUM(l.runtime_ms), 0) AS BIGINT) AS runtime";

impl From<TotalsRow> for Totals {
    fn from(r: TotalsRow) -> Self {
        Self {
            cost_micros: r.cost,
            calls: r.calls,
            priced: r.priced,
            input_tokens: r.input,
            output_tokens: r.output,
            cache_read_tokens: r.cache_read,
            cache_creation_tokens: r.cache_creation,
            runtime_ms: r.runtime,
        }
    }
}

#[derive(QueryableByName)]
struct ModelCostsRow {
    #[diesel(sql_type = Nullable<sql::Uid>)]
    model_config_id: Option<Id>,
    #[diesel(sql_type = Text)]
    provider: String,
    #[diesel(sql_type = Text)]
    model: String,
    #[diesel(embed)]
    totals: TotalsRow,
}

#[derive(QueryableByName)]
struct ChatCostsRow {
    #[diesel(sql_type = sql::Uid)]
    root_chat_id: Id,
    #[diesel(sql_type = Text)]
    title: String,
    #[diesel(embed)]
    totals: TotalsRow,
}

fn push_range(s: &mut Statement, start: Timestamp, end: Timestamp) {
    s.sql("l.created_at >= ").bind::<sql::Moment, _>(Ts(start));
    s.sql(" AND l.created_at < ").bind::<sql::Moment, _>(Ts(end));
}

/// What a user spent from `start` until before `end`.
pub async fn of_user(conn: &mut Conn, user: UserId, start: Timestamp, end: Timestamp) -> Result<UserCosts> {
    let sums = |columns: &'static str, from: &'static str| {
        let mut s = Statement::default();
        s.sql("SELECT ").sql(columns).sql(SUMS).sql(" FROM usage_ledger l ").sql(from);
        s.sql(" WHERE l.owner_id = ").bind::<sql::Uid, _>(Id(user.0)).sql(" AND ");
        push_range(&mut s, start, end);
        s
    };
    let totals: TotalsRow = sums("", "").get_result(conn).await?;
    // A model config is one model, whatever it was called in the meantime; before the ledger the name
    // was not kept.
    let mut s = sums("l.model_config_id, MAX(l.provider) AS provider, MAX(l.model) AS model, ", "");
    s.sql(" GROUP BY l.model_config_id ORDER BY cost DESC, calls DESC, l.model_config_id");
    let models: Vec<ModelCostsRow> = s.load(conn).await?;
    let mut s = sums(
        "l.root_chat_id, COALESCE(MAX(c.title), '') AS title, ",
        "LEFT JOIN chats c ON c.id = l.root_chat_id",
    );
    s.sql(" GROUP BY l.root_chat_id ORDER BY cost DESC, calls DESC, l.root_chat_id");
    let chats: Vec<ChatCostsRow> = s.load(conn).await?;
    Ok(UserCosts {
        totals: totals.into(),
        models: models
            .into_iter()
            .map(|r| ModelCosts {
                model_config_id: r.model_config_id.map(|id| ModelConfigId(id.0)),
                provider: r.provider,
                model: r.model,
                totals: r.totals.into(),
            })
            .collect(),
        chats: chats
            .into_iter()
            .map(|r| ChatCosts {
                root_chat_id: ChatId(r.root_chat_id.0),
                title: r.title,
                totals: r.totals.into(),
            })
            .collect(),
    })
}

/// What was spent in a chat, and in its sub-agents if it is a root.
pub async fn of_chat(conn: &mut Conn, chat: ChatId) -> Result<Totals> {
    let mut s = Statement::default();
    s.sql("SELECT ").sql(SUMS).sql(" FROM usage_ledger l WHERE l.root_chat_id = ");
    s.sql("(SELECT c.root_chat_id FROM chats c WHERE c.id = ").bind::<sql::Uid, _>(Id(chat.0));
    s.sql(") AND (l.root_chat_id = ").bind::<sql::Uid, _>(Id(chat.0));
    s.sql(" OR l.chat_id = ").bind::<sql::Uid, _>(Id(chat.0)).sql(")");
    let totals: TotalsRow = s.get_result(conn).await?;
    Ok(totals.into())
}

#[derive(QueryableByName)]
struct SpenderRow {
    #[diesel(sql_type = sql::Uid)]
    user_id: Id,
    #[diesel(sql_type = Text)]
    username: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    avatar_url: String,
    #[diesel(sql_type = BigInt)]
    chats: i64,
    #[diesel(embed)]
    totals: TotalsRow,
}

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// The users who spent most, and how many spent anything.
pub async fn spenders(conn: &mut Conn, page: SpenderPage) -> Result<(Vec<Spender>, i64)> {
    let of_all = |columns: &'static str, sums: &'static str| {
        let mut s = Statement::default();
        s.sql("SELECT ")
            .sql(columns)
            .sql(sums)
            .sql(" FROM usage_ledger l JOIN users u ON u.id = l.owner_id WHERE ");
        push_range(&mut s, page.start, page.end);
        if let Some(text) = &page.username {
            let text = text.replace('!', "!!").replace('%', "!%").replace('_', "!_");
            s.sql(" AND lower(u.username) LIKE lower(").bind::<Text, _>(format!("%{text}%"));
            s.sql(") ESCAPE '!'");
        }
        s
    };
    let count: CountRow = of_all("COUNT(DISTINCT l.owner_id) AS n", "").get_result(conn).await?;
    let columns =
        "u.id AS user_id, u.username, u.name, u.avatar_url, COUNT(DISTINCT l.root_chat_id) AS chats, ";
    let mut s = of_all(columns, SUMS);
    s.sql(" GROUP BY u.id, u.username, u.name, u.avatar_url ORDER BY cost DESC, u.username LIMIT ");
    s.bind::<BigInt, _>(page.limit).sql(" OFFSET ").bind::<BigInt, _>(page.offset);
    let rows: Vec<SpenderRow> = s.load(conn).await?;
    let spenders = rows.into_iter().map(|r| Spender {
        user_id: UserId(r.user_id.0),
        username: r.username,
        name: r.name,
        avatar_url: r.avatar_url,
        chats: r.chats,
        totals: r.totals.into(),
    });
    Ok((spenders.collect(), count.n))
}
