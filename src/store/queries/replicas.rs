//! The replicas of a deployment and where they are reached.

use super::{Conn, divergent};
use crate::{
    clock::Timestamp,
    ids::WorkerId,
    store::{
        error::Result,
        schema::replicas,
        types::{Id, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::time::Duration;

/// Enters a replica, or renews its entry. Judged by the database's clock, like the leases.
pub async fn beat(conn: &mut Conn, id: WorkerId, relay_url: String, now: Timestamp) -> Result<()> {
    let at = Ts(divergent::now(conn, now).await?);
    diesel::insert_into(replicas::table)
        .values((replicas::id.eq(Id(id.0)), replicas::relay_url.eq(&relay_url), replicas::beat_at.eq(at)))
        .on_conflict(replicas::id)
        .do_update()
        .set(replicas::beat_at.eq(at))
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes a replica that leaves.
pub async fn remove(conn: &mut Conn, id: WorkerId) -> Result<()> {
    diesel::delete(replicas::table.find(Id(id.0))).execute(conn).await?;
    Ok(())
}

/// Removes replicas that have been silent for this long.
pub async fn sweep(conn: &mut Conn, silence: Duration, now: Timestamp) -> Result<usize> {
    let oldest = Ts(divergent::now(conn, now).await? - silence);
    Ok(diesel::delete(replicas::table.filter(replicas::beat_at.lt(oldest))).execute(conn).await?)
}

/// Where a replica is reached by others, if it is known.
pub async fn address(conn: &mut Conn, id: WorkerId) -> Result<Option<String>> {
    Ok(replicas::table.find(Id(id.0)).select(replicas::relay_url).first(conn).await.optional()?)
}
