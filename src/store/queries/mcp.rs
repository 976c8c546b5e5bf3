//! Tool servers (MCP) and the tokens of users for them.

use super::{Conn, sealed};
use crate::{
    clock::Timestamp,
    config::Secret,
    ids::{McpServerId, UserId},
    store::{
        error::{Error, Result},
        mcp_rows::{McpServerRow, McpTokenRow},
        records::mcp::{McpGrant, McpSealed, McpSecrets, McpServerRecord, McpTokenRecord, SecretChange},
        schema::{mcp_servers, mcp_user_tokens},
        sealing::{Column, Keyring},
        types::{Id, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

const TAKEN: Error = Error::Duplicate("an MCP server with this slug");

/// Every server, by name.
pub async fn list(conn: &mut Conn) -> Result<Vec<McpServerRecord>> {
    let rows: Vec<McpServerRow> = mcp_servers::table
        .order((mcp_servers::display_name.asc(), mcp_servers::id.asc()))
        .select(McpServerRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(McpServerRow::record).collect()
}

/// One server.
pub async fn get(conn: &mut Conn, id: McpServerId) -> Result<McpServerRecord> {
    let row: McpServerRow =
        mcp_servers::table.find(Id(id.0)).select(McpServerRow::as_select()).first(conn).await?;
    row.record()
}

async fn slug_is_taken(conn: &mut Conn, slug: &str, by_other_than: Id) -> Result<bool> {
    let found: Option<Id> = mcp_servers::table
        .filter(mcp_servers::slug.eq(slug).and(mcp_servers::id.ne(by_other_than)))
        .select(mcp_servers::id)
        .first(conn)
        .await
        .optional()?;
    Ok(found.is_some())
}

/// Makes a server.
pub async fn create(
    conn: &mut Conn,
    keys: Keyring,
    mut server: McpServerRecord,
    secrets: McpSecrets,
) -> Result<McpServerRecord> {
    if slug_is_taken(conn, &server.slug, Id(server.id.0)).await? {
        return Err(TAKEN);
    }
    apply(conn, &keys, server.id.0, &mut server.sealed, secrets).await?;
    diesel::insert_into(mcp_servers::table).values(McpServerRow::from(server.clone())).execute(conn).await?;
    Ok(server)
}

/// Writes a server as it shall be, provided that it is still as it was at `seen`.
pub async fn change(
    conn: &mut Conn,
    keys: Keyring,
    mut server: McpServerRecord,
    secrets: McpSecrets,
    seen: Timestamp,
    drop_tokens: bool,
) -> Result<McpServerRecord> {
    let id = Id(server.id.0);
    let current = locked(conn, id).await?.ok_or(Error::NotFound)?;
    if current.updated_at != seen {
        return Err(Error::Stale);
    }
    // Not those that were read earlier: a rotation of the keys may have sealed them anew.
    server.sealed = current.sealed;
    if slug_is_taken(conn, &server.slug, id).await? {
        return Err(TAKEN);
    }
    apply(conn, &keys, server.id.0, &mut server.sealed, secrets).await?;
    update(conn, server.clone()).await?;
    if drop_tokens {
        forget_tokens(conn, id).await?;
    }
    Ok(server)
}

/// A server whose row nobody else changes until the end of the transaction.
async fn locked(conn: &mut Conn, id: Id) -> Result<Option<McpServerRecord>> {
    let row: Option<McpServerRow> =
        for_update!(mcp_servers::table.find(id).select(McpServerRow::as_select()))
            .first(conn)
            .await
            .optional()?;
    row.map(McpServerRow::record).transpose()
}

async fn update(conn: &mut Conn, server: McpServerRecord) -> Result<()> {
    let id = Id(server.id.0);
    diesel::update(mcp_servers::table.find(id)).set(McpServerRow::from(server)).execute(conn).await?;
    Ok(())
}

async fn forget_tokens(conn: &mut Conn, server: Id) -> Result<()> {
    diesel::delete(mcp_user_tokens::table.filter(mcp_user_tokens::server_id.eq(server)))
        .execute(conn)
        .await?;
    Ok(())
}

async fn apply(
    conn: &mut Conn,
    keys: &Keyring,
    row: Uuid,
    sealed: &mut McpSealed,
    secrets: McpSecrets,
) -> Result<()> {
    let all = [
        (Column::McpClientSecret, &mut sealed.client_secret, secrets.client_secret),
        (Column::McpApiKey, &mut sealed.api_key, secrets.api_key),
        (Column::McpHeaders, &mut sealed.custom_headers, secrets.custom_headers),
    ];
    for (column, value, change) in all {
        match change {
            SecretChange::Keep => {}
            SecretChange::Clear => *value = None,
            SecretChange::Set(secret) => *value = Some(sealed::seal(conn, keys, column, row, &secret).await?),
        }
    }
    Ok(())
}

/// Removes a server with every token for it.
pub async fn remove(conn: &mut Conn, id: McpServerId) -> Result<()> {
    let removed = diesel::delete(mcp_servers::table.find(Id(id.0))).execute(conn).await?;
    if removed == 0 { Err(Error::NotFound) } else { Ok(()) }
}

/// Brings the servers of the configuration in step with it: inserts, updates, and takes away what is no
/// longer declared. Secrets are compared in clear, so that a start that changes nothing writes nothing.
/// Whether anything changed.
pub async fn sync_declared(
    conn: &mut Conn,
    keys: Keyring,
    declared: Vec<(McpServerRecord, McpSecrets)>,
    now: Timestamp,
) -> Result<bool> {
    // One replica after the other; the rows themselves may not be there yet.
    super::divergent::lock_mcp_servers(conn).await?;
    let mut changed = false;
    let mut kept = Vec::new();
    for (mut wanted, secrets) in declared {
        // By name: a server made through the API that has the name is taken over.
        let by_name: Option<Id> = mcp_servers::table
            .filter(mcp_servers::slug.eq(&wanted.slug))
            .select(mcp_servers::id)
            .first(conn)
            .await
            .optional()?;
        let there = match by_name {
            Some(id) => locked(conn, id).await?,
            None => None,
        };
        let Some(there) = there else {
            kept.push(Id(wanted.id.0));
            apply(conn, &keys, wanted.id.0, &mut wanted.sealed, secrets).await?;
            diesel::insert_into(mcp_servers::table).values(McpServerRow::from(wanted)).execute(conn).await?;
            changed = true;
            continue;
        };
        wanted.id = there.id;
        wanted.created_at = there.created_at;
        wanted.updated_at = there.updated_at;
        wanted.sealed.clone_from(&there.sealed);
        kept.push(Id(there.id.0));
        let same_place = wanted.url == there.url && wanted.auth_type == there.auth_type;
        let mut secrets = new_ones(&keys, &there, secrets)?;
        // A client that was found out by discovery is not declared, and stays while the address does.
        if same_place && wanted.oauth_fields().iter().all(|(_, given)| !given) {
            wanted.oauth2_client_id.clone_from(&there.oauth2_client_id);
            wanted.oauth2_auth_url.clone_from(&there.oauth2_auth_url);
            wanted.oauth2_token_url.clone_from(&there.oauth2_token_url);
            wanted.oauth2_discovered = there.oauth2_discovered;
            if wanted.oauth2_scopes.is_none() {
                wanted.oauth2_scopes.clone_from(&there.oauth2_scopes);
            }
            if secrets.client_secret == SecretChange::Clear && there.oauth2_client_id.is_some() {
                secrets.client_secret = SecretChange::Keep;
            }
        }
        let same_client = same_place
            && wanted.oauth2_client_id == there.oauth2_client_id
            && wanted.oauth2_auth_url == there.oauth2_auth_url
            && wanted.oauth2_token_url == there.oauth2_token_url;
        if wanted == there && secrets == McpSecrets::default() {
            continue;
        }
        wanted.updated_at = after(now, there.updated_at);
        apply(conn, &keys, wanted.id.0, &mut wanted.sealed, secrets).await?;
        let id = Id(wanted.id.0);
        update(conn, wanted).await?;
        if !same_client {
            forget_tokens(conn, id).await?;
        }
        changed = true;
    }
    let gone = diesel::delete(
        mcp_servers::table.filter(mcp_servers::source.eq("config")).filter(mcp_servers::id.ne_all(kept)),
    )
    .execute(conn)
    .await?;
    Ok(changed || gone > 0)
}

/// Always later than before, so that whoever saw the row before notices.
fn after(now: Timestamp, before: Timestamp) -> Timestamp {
    now.max(before + std::time::Duration::from_micros(1))
}

/// The changes that change something.
fn new_ones(keys: &Keyring, there: &McpServerRecord, wanted: McpSecrets) -> Result<McpSecrets> {
    let settle = |column, stored: &Option<Vec<u8>>, wanted: SecretChange| -> Result<SecretChange> {
        Ok(match (stored, wanted) {
            (None, SecretChange::Clear) => SecretChange::Keep,
            (Some(sealed), SecretChange::Set(secret)) if keys.open(column, there.id.0, sealed)? == secret => {
                SecretChange::Keep
            }
            (_, wanted) => wanted,
        })
    };
    Ok(McpSecrets {
        client_secret: settle(Column::McpClientSecret, &there.sealed.client_secret, wanted.client_secret)?,
        api_key: settle(Column::McpApiKey, &there.sealed.api_key, wanted.api_key)?,
        custom_headers: settle(Column::McpHeaders, &there.sealed.custom_headers, wanted.custom_headers)?,
    })
}

/// Writes down the OAuth client that discovery made, unless the server was changed meanwhile.
pub async fn set_client(
    conn: &mut Conn,
    keys: Keyring,
    mut server: McpServerRecord,
    secret: Option<Secret>,
    now: Timestamp,
) -> Result<McpServerRecord> {
    let seen = server.updated_at;
    server.updated_at = after(now, seen);
    let client_secret = secret.map_or(SecretChange::Keep, SecretChange::Set);
    change(conn, keys, server, McpSecrets { client_secret, ..McpSecrets::default() }, seen, false).await
}

/// The tokens of a user.
pub async fn tokens(conn: &mut Conn, user: UserId) -> Result<Vec<McpTokenRecord>> {
    let rows: Vec<McpTokenRow> = mcp_user_tokens::table
        .filter(mcp_user_tokens::user_id.eq(Id(user.0)))
        .select(McpTokenRow::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The token of a user for a server.
pub async fn token(conn: &mut Conn, server: McpServerId, user: UserId) -> Result<Option<McpTokenRecord>> {
    let row: Option<McpTokenRow> = mcp_user_tokens::table
        .filter(mcp_user_tokens::user_id.eq(Id(user.0)).and(mcp_user_tokens::server_id.eq(Id(server.0))))
        .select(McpTokenRow::as_select())
        .first(conn)
        .await
        .optional()?;
    Ok(row.map(Into::into))
}

/// Stores a token in place of an earlier one, provided that the server is still as it was at `seen`: a
/// token of a client that was changed meanwhile belongs to nobody.
pub async fn put_token(
    conn: &mut Conn,
    keys: Keyring,
    server: McpServerId,
    seen: Timestamp,
    user: UserId,
    grant: McpGrant,
    now: Timestamp,
) -> Result<()> {
    let current: Option<Ts> =
        for_no_key_update!(mcp_servers::table.find(Id(server.0)).select(mcp_servers::updated_at))
            .first(conn)
            .await
            .optional()?;
    if current.ok_or(Error::NotFound)?.0 != seen {
        return Err(Error::Stale);
    }
    remove_token(conn, server, user).await?;
    let id = crate::ids::fresh_uuid();
    let access_token = sealed::seal(conn, &keys, Column::McpAccessToken, id, &grant.access_token).await?;
    let refresh_token = match &grant.refresh_token {
        Some(secret) => Some(sealed::seal(conn, &keys, Column::McpRefreshToken, id, secret).await?),
        None => None,
    };
    diesel::insert_into(mcp_user_tokens::table)
        .values((
            mcp_user_tokens::id.eq(Id(id)),
            mcp_user_tokens::server_id.eq(Id(server.0)),
            mcp_user_tokens::user_id.eq(Id(user.0)),
            mcp_user_tokens::access_token.eq(access_token),
            mcp_user_tokens::refresh_token.eq(refresh_token),
            mcp_user_tokens::token_type.eq(grant.token_type),
            mcp_user_tokens::expires_at.eq(grant.expires_at.map(Ts)),
            mcp_user_tokens::created_at.eq(Ts(now)),
            mcp_user_tokens::updated_at.eq(Ts(now)),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Stores a refreshed token, unless another one was stored since `old` was read. Whether it was stored.
pub async fn renew_token(
    conn: &mut Conn,
    keys: Keyring,
    old: McpTokenRecord,
    grant: McpGrant,
    now: Timestamp,
) -> Result<bool> {
    let access_token = sealed::seal(conn, &keys, Column::McpAccessToken, old.id, &grant.access_token).await?;
    // Without one the authorization server did not rotate it, and the column stays as it is.
    let refresh_token = match &grant.refresh_token {
        Some(secret) => Some(Some(sealed::seal(conn, &keys, Column::McpRefreshToken, old.id, secret).await?)),
        None => None,
    };
    let changed = diesel::update(
        mcp_user_tokens::table.find(Id(old.id)).filter(mcp_user_tokens::updated_at.eq(Ts(old.updated_at))),
    )
    .set((
        mcp_user_tokens::access_token.eq(access_token),
        refresh_token.map(|token: Option<Vec<u8>>| mcp_user_tokens::refresh_token.eq(token)),
        mcp_user_tokens::token_type.eq(grant.token_type),
        mcp_user_tokens::expires_at.eq(grant.expires_at.map(Ts)),
        mcp_user_tokens::updated_at.eq(Ts(after(now, old.updated_at))),
    ))
    .execute(conn)
    .await?;
    Ok(changed == 1)
}

/// Removes the token of a user for a server; whether there was one.
pub async fn remove_token(conn: &mut Conn, server: McpServerId, user: UserId) -> Result<bool> {
    let own = mcp_user_tokens::table
        .filter(mcp_user_tokens::user_id.eq(Id(user.0)).and(mcp_user_tokens::server_id.eq(Id(server.0))));
    Ok(diesel::delete(own).execute(conn).await? > 0)
}
