//! Users, organizations, tokens, idempotency keys.

use super::Conn;
use crate::{
    chat::json::Json,
    clock::Timestamp,
    ids::{OrganizationId, UserId},
    store::{
        error::{Error, Result},
        records::{OrganizationRecord, TokenRecord, UserRecord},
        schema::{api_tokens, deployment, idempotency_keys, organization_members, organizations, users},
        types::{Id, Raw, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = users)]
struct UserRow {
    id: Id,
    username: String,
    name: String,
    email: String,
    is_admin: bool,
    status: String,
    created_at: Ts,
    updated_at: Ts,
}

impl From<UserRow> for UserRecord {
    fn from(r: UserRow) -> Self {
        Self {
            id: UserId(r.id.0),
            username: r.username,
            name: r.name,
            email: r.email,
            is_admin: r.is_admin,
            suspended: r.status != "active",
            created_at: r.created_at.0,
            updated_at: r.updated_at.0,
        }
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = organizations)]
struct OrganizationRow {
    id: Id,
    name: String,
    display_name: String,
    is_default: bool,
    created_at: Ts,
    updated_at: Ts,
}

impl From<OrganizationRow> for OrganizationRecord {
    fn from(r: OrganizationRow) -> Self {
        Self {
            id: OrganizationId(r.id.0),
            name: r.name,
            display_name: r.display_name,
            is_default: r.is_default,
            created_at: r.created_at.0,
            updated_at: r.updated_at.0,
        }
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = api_tokens)]
struct TokenRow {
    id: String,
    user_id: Id,
    hash: Vec<u8>,
    created_at: Ts,
    expires_at: Option<Ts>,
}

impl From<TokenRow> for TokenRecord {
    fn from(r: TokenRow) -> Self {
        Self {
            id: r.id,
            user_id: UserId(r.user_id.0),
            hash: r.hash,
            created_at: r.created_at.0,
            expires_at: r.expires_at.map(|t| t.0),
        }
    }
}

/// Makes the default organization if there is none, and answers it.
pub async fn default_organization(conn: &mut Conn, now: Timestamp) -> Result<OrganizationRecord> {
    let found: Option<OrganizationRow> = organizations::table
        .filter(organizations::name.eq("default"))
        .select(OrganizationRow::as_select())
        .first(conn)
        .await
        .optional()?;
    if let Some(row) = found {
        return Ok(row.into());
    }
    let row = OrganizationRow {
        id: Id(OrganizationId::fresh().0),
        name: "default".into(),
        display_name: "Default".into(),
        is_default: true,
        created_at: Ts(now),
        updated_at: Ts(now),
    };
    // Several replicas may start at once: the first one wins, the others read its row.
    diesel::insert_into(organizations::table).values(&row).on_conflict_do_nothing().execute(conn).await?;
    let row: OrganizationRow = organizations::table
        .filter(organizations::name.eq("default"))
        .select(OrganizationRow::as_select())
        .first(conn)
        .await?;
    Ok(row.into())
}

/// Makes a user in the default organization.
pub async fn create_user(conn: &mut Conn, u: UserRecord, now: Timestamp) -> Result<UserRecord> {
    let taken: Option<Id> = users::table
        .filter(users::username.eq(&u.username))
        .select(users::id)
        .first(conn)
        .await
        .optional()?;
    if taken.is_some() {
        return Err(Error::Duplicate("a user of this name"));
    }
    let organization = default_organization(conn, now).await?;
    let row = UserRow {
        id: Id(u.id.0),
        username: u.username,
        name: u.name,
        email: u.email,
        is_admin: u.is_admin,
        status: if u.suspended { "suspended" } else { "active" }.into(),
        created_at: Ts(now),
        updated_at: Ts(now),
    };
    let inserted =
        diesel::insert_into(users::table).values(&row).on_conflict_do_nothing().execute(conn).await?;
    if inserted == 0 {
        return Err(Error::Duplicate("a user of this name"));
    }
    diesel::insert_into(organization_members::table)
        .values((
            organization_members::organization_id.eq(Id(organization.id.0)),
            organization_members::user_id.eq(row.id),
            organization_members::created_at.eq(Ts(now)),
        ))
        .execute(conn)
        .await?;
    Ok(row.into())
}

/// Every user, by name.
pub async fn list_users(conn: &mut Conn) -> Result<Vec<UserRecord>> {
    let rows: Vec<UserRow> =
        users::table.order(users::username.asc()).select(UserRow::as_select()).load(conn).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// A user by login name.
pub async fn user_by_name(conn: &mut Conn, username: String) -> Result<UserRecord> {
    let row: UserRow =
        users::table.filter(users::username.eq(username)).select(UserRow::as_select()).first(conn).await?;
    Ok(row.into())
}

/// A user by id.
pub async fn user(conn: &mut Conn, id: UserId) -> Result<UserRecord> {
    let row: UserRow = users::table.find(Id(id.0)).select(UserRow::as_select()).first(conn).await?;
    Ok(row.into())
}

/// Suspends a user or lets them in again.
pub async fn set_suspended(
    conn: &mut Conn,
    username: String,
    suspended: bool,
    now: Timestamp,
) -> Result<UserRecord> {
    let row: Option<UserRow> = diesel::update(users::table.filter(users::username.eq(username)))
        .set((
            users::status.eq(if suspended { "suspended" } else { "active" }),
            users::updated_at.eq(Ts(now)),
        ))
        .returning(UserRow::as_returning())
        .get_result(conn)
        .await
        .optional()?;
    row.map(Into::into).ok_or(Error::NotFound)
}

/// The organizations a user belongs to.
pub async fn organizations_of(conn: &mut Conn, user: UserId) -> Result<Vec<OrganizationRecord>> {
    let ids: Vec<Id> = organization_members::table
        .filter(organization_members::user_id.eq(Id(user.0)))
        .select(organization_members::organization_id)
        .load(conn)
        .await?;
    let rows: Vec<OrganizationRow> = organizations::table
        .filter(organizations::id.eq_any(ids))
        .order(organizations::name.asc())
        .select(OrganizationRow::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Stores a token.
pub async fn create_token(conn: &mut Conn, t: TokenRecord) -> Result<()> {
    let row = TokenRow {
        id: t.id,
        user_id: Id(t.user_id.0),
        hash: t.hash,
        created_at: Ts(t.created_at),
        expires_at: t.expires_at.map(Ts),
    };
    diesel::insert_into(api_tokens::table).values(&row).execute(conn).await?;
    Ok(())
}

/// A token with its user, if it exists.
pub async fn token(conn: &mut Conn, id: String) -> Result<Option<(TokenRecord, UserRecord)>> {
    let row: Option<(TokenRow, UserRow)> = api_tokens::table
        .inner_join(users::table.on(users::id.eq(api_tokens::user_id)))
        .filter(api_tokens::id.eq(id))
        .select((TokenRow::as_select(), UserRow::as_select()))
        .first(conn)
        .await
        .optional()?;
    Ok(row.map(|(t, u)| (t.into(), u.into())))
}

/// Every token, oldest first.
pub async fn list_tokens(conn: &mut Conn) -> Result<Vec<(TokenRecord, UserRecord)>> {
    let rows: Vec<(TokenRow, UserRow)> = api_tokens::table
        .inner_join(users::table.on(users::id.eq(api_tokens::user_id)))
        .order((api_tokens::created_at.asc(), api_tokens::id.asc()))
        .select((TokenRow::as_select(), UserRow::as_select()))
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(|(t, u)| (t.into(), u.into())).collect())
}

/// Removes a token; whether it existed.
pub async fn revoke_token(conn: &mut Conn, id: String) -> Result<bool> {
    Ok(diesel::delete(api_tokens::table.find(id)).execute(conn).await? == 1)
}

/// The stored answer of an idempotency key, if it was used before; refused if that was for another
/// request.
pub async fn replayed(
    conn: &mut Conn,
    user: UserId,
    key: impl AsRef<str>,
    request_hash: impl AsRef<[u8]>,
) -> Result<Option<(u16, Json)>> {
    let found: Option<(Vec<u8>, i32, Raw)> = idempotency_keys::table
        .find((Id(user.0), key.as_ref()))
        .select((idempotency_keys::request_hash, idempotency_keys::status, idempotency_keys::answer))
        .first(conn)
        .await
        .optional()?;
    match found {
        None => Ok(None),
        Some((hash, _, _)) if hash != request_hash.as_ref() => Err(Error::IdempotencyMismatch),
        Some((_, status, answer)) => {
            let status = u16::try_from(status).map_err(|_| Error::Corrupt(format!("status {status}")))?;
            Ok(Some((status, answer.0)))
        }
    }
}

/// Stores the answer of an idempotency key. Two requests with one key that run at the same moment
/// collide here, and the second transaction is undone as a whole and tried again.
pub async fn remember(
    conn: &mut Conn,
    user: UserId,
    key: &str,
    request_hash: &[u8],
    status: u16,
    answer: &Json,
    now: Timestamp,
) -> Result<()> {
    diesel::insert_into(idempotency_keys::table)
        .values((
            idempotency_keys::user_id.eq(Id(user.0)),
            idempotency_keys::key.eq(key),
            idempotency_keys::request_hash.eq(request_hash),
            idempotency_keys::status.eq(i32::from(status)),
            idempotency_keys::answer.eq(Raw(answer.clone())),
            idempotency_keys::created_at.eq(Ts(now)),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets idempotency keys older than the moment.
pub async fn sweep_idempotency(conn: &mut Conn, older_than: Timestamp) -> Result<usize> {
    Ok(diesel::delete(idempotency_keys::table.filter(idempotency_keys::created_at.lt(Ts(older_than))))
        .execute(conn)
        .await?)
}

/// A value of the deployment that is made once and then kept, such as its id.
pub async fn deployment_value(conn: &mut Conn, key: String, fresh: String) -> Result<String> {
    diesel::insert_into(deployment::table)
        .values((deployment::key.eq(&key), deployment::value.eq(fresh)))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    Ok(deployment::table.find(key).select(deployment::value).first(conn).await?)
}
