//! What SQLite finds wrong with its file.

use super::SqliteStore;
use crate::store::error::Result;
use diesel::{
    QueryableByName, RunQueryDsl,
    sql_types::{BigInt, Nullable, Text},
};

/// Faults that are told; a damaged file has one a page.
const MAX_FAULTS: usize = 10;

#[derive(QueryableByName)]
struct Fault {
    #[diesel(sql_type = Text)]
    integrity_check: String,
}

#[derive(QueryableByName)]
struct Orphan {
    #[diesel(sql_type = Text)]
    table: String,
    #[diesel(sql_type = Text)]
    parent: String,
    #[diesel(sql_type = BigInt)]
    n: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    first: Option<i64>,
}

impl SqliteStore {
    /// Reads every page, beside whoever writes, and tells what does not fit: at most [`MAX_FAULTS`] of the pages and
    /// indexes, and rows that name others which are not there. Blocks; takes as long as it takes to read the file.
    pub(in crate::store) fn faults(&self) -> Result<Vec<String>> {
        let mut conn = self.connect()?;
        let checked: Vec<Fault> =
            diesel::sql_query(format!("PRAGMA integrity_check({MAX_FAULTS})")).load(&mut conn)?;
        let mut faults: Vec<String> =
            checked.into_iter().map(|fault| fault.integrity_check).filter(|text| text != "ok").collect();
        let orphans: Vec<Orphan> = diesel::sql_query(
            "SELECT \"table\", parent, count(*) AS n, min(rowid) AS first FROM pragma_foreign_key_check \
             GROUP BY \"table\", parent",
        )
        .load(&mut conn)?;
        faults.extend(orphans.into_iter().map(|Orphan { table, parent, n, first }| {
            let first = first.map_or_else(String::new, |row| format!(", the first is row {row}"));
            format!("{n} rows of {table} name a row of {parent} that is not there{first}")
        }));
        Ok(faults)
    }
}
