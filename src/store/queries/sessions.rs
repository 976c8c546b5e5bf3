//! Tokens, sessions, login links.

use super::{
    Conn,
    accounts::access_changed,
    users::{self as people, UserRow},
};
use crate::{
    clock::Timestamp,
    ids::UserId,
    store::{
        error::Result,
        records::{LoginLink, TokenKind, TokenRecord, UserRecord},
        schema::{api_tokens, login_links, users},
        types::{Id, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = api_tokens)]
struct TokenRow {
    id: String,
    user_id: Id,
    hash: Vec<u8>,
    kind: String,
    name: String,
    created_at: Ts,
    expires_at: Option<Ts>,
    last_used_at: Option<Ts>,
    created_from: Option<String>,
}

impl From<TokenRow> for TokenRecord {
    fn from(r: TokenRow) -> Self {
        Self {
            id: r.id,
            user_id: UserId(r.user_id.0),
            hash: r.hash,
            kind: if r.kind == "session" { TokenKind::Session } else { TokenKind::Token },
            name: r.name,
            created_at: r.created_at.0,
            expires_at: r.expires_at.map(|t| t.0),
            last_used_at: r.last_used_at.map(|t| t.0),
            created_from: r.created_from,
        }
    }
}

/// Stores a token.
pub async fn create_token(conn: &mut Conn, t: TokenRecord) -> Result<()> {
    let row = TokenRow {
        id: t.id,
        user_id: Id(t.user_id.0),
        hash: t.hash,
        kind: t.kind.as_str().to_owned(),
        name: t.name,
        created_at: Ts(t.created_at),
        expires_at: t.expires_at.map(Ts),
        last_used_at: t.last_used_at.map(Ts),
        created_from: t.created_from,
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
    row.map(|(t, u)| Ok((t.into(), u.try_into()?))).transpose()
}

/// Every token, oldest first; those of one user, if it is named.
pub async fn list(conn: &mut Conn, user: Option<UserId>) -> Result<Vec<(TokenRecord, UserRecord)>> {
    let mut query = api_tokens::table
        .inner_join(users::table.on(users::id.eq(api_tokens::user_id)))
        .order((api_tokens::created_at.asc(), api_tokens::id.asc()))
        .select((TokenRow::as_select(), UserRow::as_select()))
        .into_boxed();
    if let Some(user) = user {
        query = query.filter(api_tokens::user_id.eq(Id(user.0)));
    }
    let rows: Vec<(TokenRow, UserRow)> = query.load(conn).await?;
    rows.into_iter().map(|(t, u)| Ok((t.into(), u.try_into()?))).collect()
}

/// Removes a token, that of one user if it is named; whose it was.
pub async fn revoke(conn: &mut Conn, id: String, of: Option<UserId>) -> Result<Option<UserId>> {
    let found: Option<Id> =
        api_tokens::table.find(&id).select(api_tokens::user_id).first(conn).await.optional()?;
    let Some(owner) = found.filter(|owner| of.is_none_or(|user| user.0 == owner.0)) else { return Ok(None) };
    let gone = diesel::delete(api_tokens::table.find(id)).execute(conn).await?;
    if gone == 0 {
        return Ok(None);
    }
    access_changed(conn).await?;
    Ok(Some(UserId(owner.0)))
}

/// Notes that a token, and so its user, was used.
pub async fn touch(conn: &mut Conn, token: String, user: UserId, now: Timestamp) -> Result<()> {
    diesel::update(api_tokens::table.find(token))
        .set(api_tokens::last_used_at.eq(Some(Ts(now))))
        .execute(conn)
        .await?;
    diesel::update(users::table.find(Id(user.0)))
        .set(users::last_seen_at.eq(Some(Ts(now))))
        .execute(conn)
        .await?;
    Ok(())
}

/// Stores a login link. Older ones of the user end.
pub async fn create_link(conn: &mut Conn, link: LoginLink) -> Result<()> {
    let user = Id(link.user_id.0);
    diesel::delete(login_links::table.filter(login_links::user_id.eq(user))).execute(conn).await?;
    diesel::insert_into(login_links::table)
        .values((
            login_links::id.eq(link.id),
            login_links::user_id.eq(user),
            login_links::hash.eq(link.hash),
            login_links::created_at.eq(Ts(link.created_at)),
            login_links::expires_at.eq(Ts(link.expires_at)),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Uses a login link up and stores the session it gives; the user of `session` is set to that of the
/// link. `None` when there is no such link any more, or its user may not come in.
pub async fn redeem_link(
    conn: &mut Conn,
    id: String,
    hash: Vec<u8>,
    mut session: TokenRecord,
    now: Timestamp,
) -> Result<Option<UserRecord>> {
    // The hash is that of 131 random bits: how long comparing it takes tells nothing about the secret.
    let link = login_links::table.find(id).filter(login_links::hash.eq(hash));
    let user: Option<Id> = diesel::delete(link.filter(login_links::expires_at.gt(Ts(now))))
        .returning(login_links::user_id)
        .get_result(conn)
        .await
        .optional()?;
    let Some(user) = user else { return Ok(None) };
    let user = people::get(conn, UserId(user.0)).await?;
    if user.suspended || user.deleted {
        return Ok(None);
    }
    session.user_id = user.id;
    create_token(conn, session).await?;
    Ok(Some(user))
}

/// Forgets tokens, sessions and login links that ended before the moment.
pub async fn sweep(conn: &mut Conn, ended_before: Timestamp) -> Result<usize> {
    let end = Ts(ended_before);
    let tokens =
        diesel::delete(api_tokens::table.filter(api_tokens::expires_at.lt(end))).execute(conn).await?;
    let links =
        diesel::delete(login_links::table.filter(login_links::expires_at.lt(end))).execute(conn).await?;
    Ok(tokens + links)
}
