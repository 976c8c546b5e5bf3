//! The limits on what users spend: the default, those of users and those of groups.

use super::{Conn, Statement, spend::period_of};
use crate::{
    clock::Timestamp,
    ids::{GroupId, UserId},
    store::{
        error::Result,
        spend::{AllLimits, GroupLimit, LimitRecord, Period, UserLimit},
        types::{Id, Ts, sql},
    },
};
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use diesel_async::RunQueryDsl;

#[derive(QueryableByName)]
struct LimitRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    spend_limit_micros: Option<i64>,
    #[diesel(sql_type = Text)]
    period: String,
    #[diesel(sql_type = sql::Moment)]
    updated_at: Ts,
}

impl LimitRow {
    fn record(self) -> Result<LimitRecord> {
        let (spend_limit_micros, updated_at) = (self.spend_limit_micros, self.updated_at.0);
        Ok(LimitRecord { spend_limit_micros, period: period_of(&self.period)?, updated_at })
    }
}

#[derive(QueryableByName)]
struct UserLimitRow {
    #[diesel(sql_type = sql::Uid)]
    user_id: Id,
    #[diesel(sql_type = Text)]
    username: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    avatar_url: String,
    #[diesel(sql_type = BigInt)]
    spend_limit_micros: i64,
    #[diesel(sql_type = sql::Moment)]
    created_at: Ts,
    #[diesel(sql_type = sql::Moment)]
    updated_at: Ts,
}

impl From<UserLimitRow> for UserLimit {
    fn from(r: UserLimitRow) -> Self {
        Self {
            user_id: UserId(r.user_id.0),
            username: r.username,
            name: r.name,
            avatar_url: r.avatar_url,
            spend_limit_micros: r.spend_limit_micros,
            created_at: r.created_at.0,
            updated_at: r.updated_at.0,
        }
    }
}

#[derive(QueryableByName)]
struct GroupLimitRow {
    #[diesel(sql_type = sql::Uid)]
    group_id: Id,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    display_name: String,
    #[diesel(sql_type = Text)]
    avatar_url: String,
    #[diesel(sql_type = BigInt)]
    member_count: i64,
    #[diesel(sql_type = BigInt)]
    spend_limit_micros: i64,
    #[diesel(sql_type = sql::Moment)]
    created_at: Ts,
    #[diesel(sql_type = sql::Moment)]
    updated_at: Ts,
}

impl From<GroupLimitRow> for GroupLimit {
    fn from(r: GroupLimitRow) -> Self {
        Self {
            group_id: GroupId(r.group_id.0),
            name: r.name,
            display_name: r.display_name,
            avatar_url: r.avatar_url,
            member_count: r.member_count,
            spend_limit_micros: r.spend_limit_micros,
            created_at: r.created_at.0,
            updated_at: r.updated_at.0,
        }
    }
}

fn user_limits() -> Statement {
    let mut s = Statement::default();
    s.sql(
        "SELECT o.user_id, u.username, u.name, u.avatar_url, o.spend_limit_micros, o.created_at, o.updated_at \
         FROM usage_limit_users o JOIN users u ON u.id = o.user_id",
    );
    s
}

fn group_limits() -> Statement {
    let mut s = Statement::default();
    s.sql(
        "SELECT o.group_id, g.name, g.display_name, g.avatar_url, \
         (SELECT COUNT(*) FROM group_members m WHERE m.group_id = o.group_id) AS member_count, \
         o.spend_limit_micros, o.created_at, o.updated_at \
         FROM usage_limit_groups o JOIN groups g ON g.id = o.group_id",
    );
    s
}

/// Every limit.
pub async fn all(conn: &mut Conn) -> Result<AllLimits> {
    let mut s = Statement::default();
    s.sql("SELECT spend_limit_micros, period, updated_at FROM usage_limits");
    let default: LimitRow = s.get_result(conn).await?;
    let mut s = user_limits();
    s.sql(" WHERE u.deleted_at IS NULL ORDER BY u.username");
    let users: Vec<UserLimitRow> = s.load(conn).await?;
    let mut s = group_limits();
    s.sql(" ORDER BY g.name, g.id");
    let groups: Vec<GroupLimitRow> = s.load(conn).await?;
    Ok(AllLimits {
        default: default.record()?,
        users: users.into_iter().map(Into::into).collect(),
        groups: groups.into_iter().map(Into::into).collect(),
    })
}

/// Sets the default.
pub async fn set(
    conn: &mut Conn,
    micros: Option<i64>,
    period: Period,
    now: Timestamp,
) -> Result<LimitRecord> {
    let mut s = Statement::default();
    s.sql("UPDATE usage_limits SET spend_limit_micros = ").bind::<Nullable<BigInt>, _>(micros);
    s.sql(", period = ").bind::<Text, _>(period.as_str());
    s.sql(", updated_at = ").bind::<sql::Moment, _>(Ts(now));
    s.sql(" RETURNING spend_limit_micros, period, updated_at");
    let row: LimitRow = s.get_result(conn).await?;
    row.record()
}

/// The values of a limit that is set, whether there was one or not.
fn push_override(s: &mut Statement, id: uuid::Uuid, micros: i64, now: Timestamp) {
    s.sql(" VALUES (").bind::<sql::Uid, _>(Id(id)).sql(", ").bind::<BigInt, _>(micros);
    s.sql(", ").bind::<sql::Moment, _>(Ts(now)).sql(", ").bind::<sql::Moment, _>(Ts(now)).sql(")");
}

const KEEP_FIRST: &str = " DO UPDATE SET spend_limit_micros = excluded.spend_limit_micros, \
                          updated_at = excluded.updated_at";

/// Sets the limit of a user.
pub async fn set_user(conn: &mut Conn, user: UserId, micros: i64, now: Timestamp) -> Result<UserLimit> {
    let mut s = Statement::default();
    s.sql("INSERT INTO usage_limit_users (user_id, spend_limit_micros, created_at, updated_at)");
    push_override(&mut s, user.0, micros, now);
    s.sql(" ON CONFLICT (user_id)").sql(KEEP_FIRST);
    s.execute(conn).await?;
    let mut s = user_limits();
    s.sql(" WHERE o.user_id = ").bind::<sql::Uid, _>(Id(user.0));
    let row: UserLimitRow = s.get_result(conn).await?;
    Ok(row.into())
}

/// Removes the limit of a user; whether there was one.
pub async fn delete_user(conn: &mut Conn, user: UserId) -> Result<bool> {
    let mut s = Statement::default();
    s.sql("DELETE FROM usage_limit_users WHERE user_id = ").bind::<sql::Uid, _>(Id(user.0));
    Ok(s.execute(conn).await? > 0)
}

/// Sets the limit of the members of a group.
pub async fn set_group(conn: &mut Conn, group: GroupId, micros: i64, now: Timestamp) -> Result<GroupLimit> {
    let mut s = Statement::default();
    s.sql("INSERT INTO usage_limit_groups (group_id, spend_limit_micros, created_at, updated_at)");
    push_override(&mut s, group.0, micros, now);
    s.sql(" ON CONFLICT (group_id)").sql(KEEP_FIRST);
    s.execute(conn).await?;
    let mut s = group_limits();
    s.sql(" WHERE o.group_id = ").bind::<sql::Uid, _>(Id(group.0));
    let row: GroupLimitRow = s.get_result(conn).await?;
    Ok(row.into())
}

/// Removes the limit of a group; whether there was one.
pub async fn delete_group(conn: &mut Conn, group: GroupId) -> Result<bool> {
    let mut s = Statement::default();
    s.sql("DELETE FROM usage_limit_groups WHERE group_id = ").bind::<sql::Uid, _>(Id(group.0));
    Ok(s.execute(conn).await? > 0)
}
