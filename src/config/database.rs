//! `[database]`: where everything is kept.

use super::units::{self, DatabaseUrl};
use serde::{Deserialize, Serialize};

/// Where everything is kept.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `sqlite:FILE`, relative to `data_dir`, or `postgres://user:password@host/database`, with TLS as libpq's
    /// `sslmode` and `sslrootcert` say.
    /// Default: sqlite:chatd.db.
    #[serde(with = "units::text")]
    pub url: DatabaseUrl,
    /// Connections to PostgreSQL; SQLite has one writer and needs none. Default: 16.
    pub pool_size: u32,
    /// What SQLite waits for at a commit. Default: full.
    pub synchronous: Synchronous,
}

/// What SQLite waits for at a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// The disk: nothing that was answered is lost, whatever happens.
    Full,
    /// The kernel: a crash of the program loses nothing, a power cut may lose the last commits.
    Normal,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: DatabaseUrl::Sqlite("chatd.db".into()), pool_size: 16, synchronous: Synchronous::Full }
    }
}
