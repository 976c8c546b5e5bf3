//! Idempotency keys, and values of the deployment.

use super::Conn;
use crate::{
    chat::json::Json,
    clock::Timestamp,
    ids::UserId,
    store::{
        error::{Error, Result},
        schema::{deployment, idempotency_keys},
        types::{Id, Raw, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

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

/// Changes with every change of somebody's right to be here; `None` before the first one.
const ACCESS: &str = "access_version";

/// Notes that somebody's right to be here has changed: replicas that were told by no hint see it.
pub async fn access_changed(conn: &mut Conn) -> Result<()> {
    let fresh = crate::ids::fresh_uuid().to_string();
    diesel::insert_into(deployment::table)
        .values((deployment::key.eq(ACCESS), deployment::value.eq(&fresh)))
        .on_conflict(deployment::key)
        .do_update()
        .set(deployment::value.eq(&fresh))
        .execute(conn)
        .await?;
    Ok(())
}

/// Differs from what it was when somebody's right to be here has changed meanwhile.
pub async fn access_version(conn: &mut Conn) -> Result<Option<String>> {
    Ok(deployment::table.find(ACCESS).select(deployment::value).first(conn).await.optional()?)
}
