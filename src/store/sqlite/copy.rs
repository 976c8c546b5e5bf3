//! A copy of a database that somebody else may be writing to.

use crate::store::error::{Error, Result};
use diesel::{Connection, RunQueryDsl, SqliteConnection, connection::SimpleConnection, sql_types::Text};
use std::path::Path;

/// Copies one consistent state of `database` into `target`, which must be empty or missing. Blocks; the
/// writer of the database goes on meanwhile.
///
/// # Errors
/// When either file cannot be used. What was written of `target` is left there.
pub fn copy(database: &Path, target: &Path) -> Result<()> {
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::Unavailable(format!("the path {} is not valid UTF-8", path.display())))
    };
    let mut conn = SqliteConnection::establish(&text(database)?)
        .map_err(|e| Error::Unavailable(format!("{}: {e}", database.display())))?;
    conn.batch_execute("PRAGMA busy_timeout = 10000")?;
    diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(text(target)?).execute(&mut conn)?;
    Ok(())
}
