//! What people read: lists, searches, chats and their pages, in a database of many chats with long histories.

use crate::{PATIENCE, Result, http::Client, load::quantile, scale::COLUMNS};
use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use std::path::Path;
use tokio::time::Instant;

/// Chats, and messages of each.
pub const CHATS: usize = 1000;
pub const MESSAGES: usize = 100;
/// Requests of each kind in a measurement: ten of them are above the p99.
const READS: usize = 1000;
/// Prime to the number of chats: neighbours in time are no neighbours in the database.
const STRIDE: usize = 389;

/// Gives each chat, which has had one turn, the messages that it lacks, with their words.
pub fn fill(database: &Path) -> Result<()> {
    let copies = MESSAGES / 2 - 1;
    let mut conn = SqliteConnection::establish(&database.display().to_string())?;
    conn.batch_execute(&format!(
        "PRAGMA busy_timeout = {}; BEGIN IMMEDIATE; \
         WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {copies}) \
         INSERT INTO chat_messages ({COLUMNS}) SELECT {COLUMNS} FROM chat_messages, s \
         WHERE role IN ('user', 'assistant') ORDER BY i, id; \
         INSERT INTO chat_search (rowid, owner, body) \
         SELECT m.id, lower(hex(c.owner_id)), group_concat(json_extract(p.value, '$.text'), ' ') || ' word' || (m.id % 500) \
         FROM chat_messages m JOIN chats c ON c.id = m.chat_id, json_each(m.content) p \
         WHERE m.role IN ('user', 'assistant') AND json_extract(p.value, '$.type') = 'text' \
         AND m.id NOT IN (SELECT rowid FROM chat_search) GROUP BY m.id; COMMIT",
        PATIENCE.as_millis(),
    ))?;
    Ok(())
}

/// The p99 of each kind of read, in milliseconds: list, search, one chat, a page of messages.
pub async fn read(http: &mut Client, chats: &[String]) -> Result<[f64; 4]> {
    let mut all: [Vec<f64>; 4] = Default::default();
    for n in 0..READS {
        let chat = &chats[n * STRIDE % chats.len()];
        let paths = [
            format!("/api/experimental/chats?limit=50&offset={}", n % 20 * 50),
            format!("/api/experimental/chats?limit=50&q=search:word{}", n % 500),
            format!("/api/experimental/chats/{chat}"),
            format!("/api/experimental/chats/{chat}/messages?limit=50"),
        ];
        for (kind, path) in paths.iter().enumerate() {
            let begin = Instant::now();
            http.expect(200, "GET", path, "").await?;
            all[kind].push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(all.map(|mut times| {
        times.sort_by(f64::total_cmp);
        quantile(&times, 0.99)
    }))
}
