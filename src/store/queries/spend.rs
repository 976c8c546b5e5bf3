//! The ledger of model calls, and how somebody stands to the limit on what they spend.

use super::{Conn, Statement};
use crate::{
    clock::Timestamp,
    ids::ChatId,
    store::{
        error::{Error, Result},
        spend::{Asked, ModelCall, Period, Standing, Whose, day},
        types::{Id, Ts, sql},
    },
};
use diesel::{
    QueryableByName,
    prelude::OptionalExtension,
    sql_types::{BigInt, Nullable, Text},
};
use diesel_async::RunQueryDsl;

/// The text that enters a call into the ledger of its chat's owner.
pub fn push_call(s: &mut Statement, chat: ChatId, call: &ModelCall, now: Timestamp) {
    s.sql(
        "INSERT INTO usage_ledger (owner_id, organization_id, chat_id, root_chat_id, model_config_id, provider, \
         model, kind, input_tokens, output_tokens, total_tokens, reasoning_tokens, cache_creation_tokens, \
         cache_read_tokens, cost_micros, runtime_ms, created_at) \
         SELECT owner_id, organization_id, id, root_chat_id, ",
    );
    s.bind::<sql::Uid, _>(Id(call.model_config_id.0)).sql(", ");
    s.bind::<Text, _>(call.provider.clone()).sql(", ").bind::<Text, _>(call.model.clone()).sql(", ");
    s.bind::<Text, _>(call.kind.as_str());
    let (figures, usage) = (&call.figures, &call.figures.usage);
    for figure in [
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.reasoning_tokens,
        usage.cache_creation_tokens,
        usage.cache_read_tokens,
        figures.cost_micros.unwrap_or(0),
        figures.runtime_ms.unwrap_or(0),
    ] {
        s.sql(", ").bind::<Nullable<BigInt>, _>(ModelCall::figure(figure));
    }
    s.sql(", ").bind::<sql::Moment, _>(Ts(now));
    s.sql(" FROM chats WHERE id = ").bind::<sql::Uid, _>(Id(chat.0));
}

/// The text that adds a call's cost to its day; false when it cost nothing and nothing was written.
pub fn push_day(s: &mut Statement, chat: ChatId, call: &ModelCall, now: Timestamp) -> bool {
    let Some(cost) = call.figures.cost_micros.and_then(ModelCall::figure) else { return false };
    s.sql("INSERT INTO usage_days (owner_id, day, organization_id, cost_micros) SELECT owner_id, ");
    s.bind::<BigInt, _>(day(now)).sql(", organization_id, ").bind::<BigInt, _>(cost);
    s.sql(" FROM chats WHERE id = ").bind::<sql::Uid, _>(Id(chat.0));
    s.sql(
        " ON CONFLICT (owner_id, day, organization_id) \
         DO UPDATE SET cost_micros = usage_days.cost_micros + excluded.cost_micros",
    );
    true
}

/// Enters a call that was no step of a turn, or whose step is committed in this transaction.
pub async fn record(conn: &mut Conn, chat: ChatId, call: ModelCall, now: Timestamp) -> Result<()> {
    let mut s = Statement::default();
    push_call(&mut s, chat, &call, now);
    if s.execute(conn).await? == 0 {
        return Err(Error::NotFound);
    }
    let mut s = Statement::default();
    if push_day(&mut s, chat, &call, now) {
        s.execute(conn).await?;
    }
    Ok(())
}

#[derive(QueryableByName)]
struct StandingRow {
    #[diesel(sql_type = BigInt)]
    default_limit: i64,
    #[diesel(sql_type = Text)]
    period: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    user_limit: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    group_limit: Option<i64>,
    #[diesel(sql_type = BigInt)]
    spent: i64,
    #[diesel(sql_type = BigInt)]
    spent_there: i64,
}

/// The statement of [`standing`]. Tests look at its plan.
pub fn standing_statement(whose: Whose, days: [i64; 3]) -> Statement {
    let mut s = Statement::default();
    s.sql("WITH who AS (SELECT ");
    match whose {
        Whose::Chat(chat) => {
            s.sql("owner_id, organization_id FROM chats WHERE id = ").bind::<sql::Uid, _>(Id(chat.0));
        }
        Whose::In(user, organization) => {
            s.bind::<sql::Uid, _>(Id(user.0)).sql(" AS owner_id, ");
            s.bind::<sql::Uid, _>(Id(organization.0)).sql(" AS organization_id");
        }
        Whose::User(user) => {
            s.bind::<sql::Uid, _>(Id(user.0)).sql(
                " AS owner_id, (SELECT g.organization_id FROM group_members m \
                 JOIN groups g ON g.id = m.group_id JOIN usage_limit_groups o ON o.group_id = g.id \
                 WHERE m.user_id = ",
            );
            s.bind::<sql::Uid, _>(Id(user.0));
            s.sql(" ORDER BY o.spend_limit_micros, g.id LIMIT 1) AS organization_id");
        }
    }
    s.sql(
        ") SELECT l.spend_limit_micros AS default_limit, l.period, \
         (SELECT o.spend_limit_micros FROM usage_limit_users o WHERE o.user_id = who.owner_id) AS user_limit, \
         (SELECT MIN(o.spend_limit_micros) FROM group_members m JOIN groups g ON g.id = m.group_id \
            JOIN usage_limit_groups o ON o.group_id = g.id \
            WHERE m.user_id = who.owner_id AND g.organization_id = who.organization_id) AS group_limit, ",
    );
    for (filter, name) in [("", "spent"), (" AND d.organization_id = who.organization_id", "spent_there")] {
        s.sql(
            "(SELECT CAST(COALESCE(SUM(d.cost_micros), 0) AS BIGINT) FROM usage_days d \
             WHERE d.owner_id = who.owner_id AND d.day >= CASE l.period WHEN 'day' THEN ",
        );
        s.bind::<BigInt, _>(days[0]).sql(" WHEN 'week' THEN ").bind::<BigInt, _>(days[1]);
        s.sql(" ELSE ").bind::<BigInt, _>(days[2]).sql(" END").sql(filter);
        s.sql(if name == "spent" { ") AS spent, " } else { ") AS spent_there " });
    }
    s.sql("FROM usage_limits l, who WHERE l.spend_limit_micros IS NOT NULL");
    s
}

/// How somebody stands to the limit that applies to them: their own, else the smallest of their groups
/// in that organization, which counts what was spent there, else the default. `None`: limits are off,
/// or the chat is gone.
pub async fn standing(conn: &mut Conn, whose: Whose, now: Timestamp) -> Result<Option<Standing>> {
    let mut days = [0; 3];
    for (first, period) in days.iter_mut().zip([Period::Day, Period::Week, Period::Month]) {
        *first = day(period.around(now)?.0);
    }
    let row: Option<StandingRow> = standing_statement(whose, days).get_result(conn).await.optional()?;
    let Some(row) = row else { return Ok(None) };
    let (limit_micros, spent_micros) = match (row.user_limit, row.group_limit) {
        (Some(own), _) => (own, row.spent),
        (None, Some(group)) => (group, row.spent_there),
        (None, None) => (row.default_limit, row.spent),
    };
    let period = period_of(&row.period)?;
    let (start, end) = period.around(now)?;
    Ok(Some(Standing { limit_micros, spent_micros, period, start, end }))
}

/// Refuses to admit whoever has reached their limit. On PostgreSQL the statement comes after the lock
/// of the chat and sees every step that was committed before it.
pub async fn admit(conn: &mut Conn, whose: Whose, asked: &Asked, now: Timestamp) -> Result<()> {
    match standing(conn, whose, now).await {
        Ok(Some(standing)) => standing.check(),
        Ok(None) => {
            asked.off();
            Ok(())
        }
        Err(e) if e.is_transient() => Err(e),
        Err(e) => Err(Error::LimitUnresolved(Box::new(e))),
    }
}

/// The period of a stored name.
pub fn period_of(name: &str) -> Result<Period> {
    Period::named(name).ok_or_else(|| Error::Corrupt(format!("period of a limit {name:?}")))
}
