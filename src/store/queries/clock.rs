//! The database's clock.

use super::{Conn, divergent};
use crate::{clock::Timestamp, store::error::Result};

/// The moment by which leases and deadlines are judged.
pub async fn now(conn: &mut Conn, now: Timestamp) -> Result<Timestamp> {
    divergent::now(conn, now).await
}
