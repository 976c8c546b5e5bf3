//! Sealed values and the rotation of their keys (see [`crate::store::sealing`]).

use super::Conn;
use crate::{
    config::Secret,
    store::{
        error::{Error, Result},
        schema::deployment,
        sealing::{Bound, Column, KeyId, Keyring},
        types::{Id, sql},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use diesel::{
    prelude::*,
    sql_types::{BigInt, Binary},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

/// Name of the canary in table `deployment`: a sealed value whose key is the one that seals.
pub(in crate::store) const CANARY: &str = "encryption_canary";
/// What the canary says.
const CANARY_TEXT: &[u8] = b"chatd";
/// Values that one transaction of a rotation re-seals: a few milliseconds of work.
const BATCH: i64 = 200;

fn decode(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|_| Error::Corrupt(format!("deployment value {CANARY}")))
}

fn key_of(sealed: &[u8]) -> Result<KeyId> {
    KeyId::of_sealed(sealed).ok_or_else(|| Error::Sealed("a stored secret is damaged".into()))
}

/// The canary; `None` where nothing was ever sealed.
pub async fn canary(conn: &mut Conn) -> Result<Option<Vec<u8>>> {
    let found: Option<String> =
        deployment::table.find(CANARY).select(deployment::value).first(conn).await.optional()?;
    found.map(|text| decode(&text)).transpose()
}

/// Opens the canary, or seals one with the newest key where there is none. The key that seals from
/// now on.
pub async fn check(conn: &mut Conn, keys: Keyring) -> Result<KeyId> {
    if canary(conn).await?.is_none() {
        let newest = keys.listed().last().copied();
        let newest = newest.ok_or_else(|| Error::Sealed(format!("{} holds no key", keys.place())))?;
        let sealed = keys.seal(newest, &Bound::Canary, CANARY_TEXT)?;
        diesel::insert_into(deployment::table)
            .values((deployment::key.eq(CANARY), deployment::value.eq(STANDARD.encode(sealed))))
            .on_conflict_do_nothing()
            .execute(conn)
            .await?;
    }
    let sealed = canary(conn).await?.ok_or(Error::NotFound)?;
    keys.open_bytes(&Bound::Canary, &sealed)?;
    key_of(&sealed)
}

/// The key that seals. Locked until the transaction ends: what is sealed with it is committed before
/// a rotation takes the next step.
async fn sealing_key(conn: &mut Conn) -> Result<KeyId> {
    let found: Option<String> =
        for_share!(deployment::table.find(CANARY).select(deployment::value)).first(conn).await.optional()?;
    match found {
        Some(text) => key_of(&decode(&text)?),
        None => Err(Error::Sealed("the database has no encryption key yet: start the daemon first".into())),
    }
}

/// Seals a secret for a row of a column. Call it in the transaction that writes the row.
pub async fn seal(
    conn: &mut Conn,
    keys: &Keyring,
    column: Column,
    row: Uuid,
    secret: &Secret,
) -> Result<Vec<u8>> {
    let key = sealing_key(conn).await?;
    keys.seal(key, &Bound::Row(column, row), secret.expose().as_bytes())
}

/// Has this key seal from now on. Waits for transactions that seal with the one before.
pub async fn activate(conn: &mut Conn, keys: Keyring, id: KeyId) -> Result<()> {
    let sealed = keys.seal(id, &Bound::Canary, CANARY_TEXT)?;
    let changed = diesel::update(deployment::table.find(CANARY))
        .set(deployment::value.eq(STANDARD.encode(sealed)))
        .execute(conn)
        .await?;
    if changed == 1 { Ok(()) } else { Err(Error::NotFound) }
}

#[derive(QueryableByName)]
struct SealedRow {
    #[diesel(sql_type = sql::Uid)]
    id: Id,
    #[diesel(sql_type = Binary)]
    sealed: Vec<u8>,
}

/// Re-seals values of a column that another key sealed, from the row after `after` on. Answers the
/// last row it looked at, `None` at the end of the table, and how many it re-sealed.
pub async fn reseal(
    conn: &mut Conn,
    keys: Keyring,
    column: Column,
    after: Uuid,
) -> Result<(Option<Uuid>, usize)> {
    let key = sealing_key(conn).await?;
    let (table, name) = (column.table(), column.column());
    // SQLite reads `$1` as a name, and numbers names in the order of their first use.
    let rows: Vec<SealedRow> = diesel::sql_query(format!(
        "SELECT id, {name} AS sealed FROM {table} WHERE id > $1 AND {name} IS NOT NULL ORDER BY id LIMIT $2"
    ))
    .bind::<sql::Uid, _>(Id(after))
    .bind::<BigInt, _>(BATCH)
    .load(conn)
    .await?;
    let last = rows.last().map(|row| row.id.0);
    let mut changed = 0;
    for row in rows {
        if KeyId::of_sealed(&row.sealed) == Some(key) {
            continue;
        }
        let place = Bound::Row(column, row.id.0);
        let clear = keys.open_bytes(&place, &row.sealed)?;
        let fresh = keys.seal(key, &place, &clear)?;
        // Only what was read: the owner may have stored another value meanwhile.
        changed += diesel::sql_query(format!("UPDATE {table} SET {name} = $1 WHERE id = $2 AND {name} = $3"))
            .bind::<Binary, _>(fresh)
            .bind::<sql::Uid, _>(row.id)
            .bind::<Binary, _>(row.sealed)
            .execute(conn)
            .await?;
    }
    Ok((last, changed))
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = Binary)]
    key: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// How many values each key has sealed, the canary left out.
pub async fn counts(conn: &mut Conn) -> Result<Vec<(KeyId, i64)>> {
    let mut counts: Vec<(KeyId, i64)> = Vec::new();
    for column in Column::ALL {
        let (table, name) = (column.table(), column.column());
        let rows: Vec<Count> = diesel::sql_query(format!(
            "SELECT substr({name}, 2, 8) AS key, count(*) AS n FROM {table} WHERE {name} IS NOT NULL GROUP BY 1"
        ))
        .load(conn)
        .await?;
        for row in rows {
            let id = KeyId::from_bytes(&row.key)
                .ok_or_else(|| Error::Sealed(format!("{table}.{name} holds a damaged secret")))?;
            match counts.iter_mut().find(|(known, _)| *known == id) {
                Some((_, n)) => *n += row.n,
                None => counts.push((id, row.n)),
            }
        }
    }
    Ok(counts)
}
