//! What must not grow: the database work of a turn with the subscribers of its chat, and the cost of a
//! turn with the history behind it.

use crate::{
    PATIENCE, Result, clock,
    http::Client,
    load::quantile,
    session::{Session, Target},
};
use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use std::{path::PathBuf, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// Turns of one measurement.
const TURNS: usize = 20;
/// How long an idle daemon's own statements are counted, and how long the last turn's may come late.
const IDLE: Duration = Duration::from_secs(2);
const COUNTER: &str = "chatd_store_statements_total ";
/// Columns of a message but for its id.
pub const COLUMNS: &str = "chat_id, revision, deleted, role, visibility, content, native, created_by, \
    model_config_id, compressed, input_tokens, output_tokens, total_tokens, reasoning_tokens, \
    cache_creation_tokens, cache_read_tokens, context_limit, total_cost_micros, runtime_ms, \
    provider_response_id, created_at";

/// Where a daemon's messages are.
pub enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

/// What a turn takes, in milliseconds.
pub struct Cost {
    /// Message sent to answer read, median.
    pub accepted: f64,
    /// Message sent to request read by the model, median.
    pub reach: f64,
    /// Processor time of the server, mean.
    pub cpu: f64,
}

/// Statements that chatd has sent to its database.
async fn counted(http: &mut Client) -> Result<f64> {
    let text = String::from_utf8(http.expect(200, "GET", "/metrics", "").await?)?;
    let value = text.lines().find_map(|line| line.strip_prefix(COUNTER)).ok_or("no count of statements")?;
    Ok(value.parse()?)
}

/// Statements a turn, less what the daemon sends while it is idle with the same subscribers, who are
/// all subscribers of the one chat that talks.
pub async fn statements(target: &Target, subscribers: usize) -> Result<f64> {
    let mut http = target.http().await?.ok_or("the proxy has no database")?;
    let chat = target.create(&mut http).await?;
    let mut session = target.subscribe(chat.clone()).await?;
    let mut listening = JoinSet::new();
    for _ in 1..subscribers {
        listening.spawn(target.subscribe(chat.clone()).await?.listen());
    }
    session.turn(Some(&mut http)).await?;
    sleep(IDLE).await;
    let (before, start) = (counted(&mut http).await?, clock::mono());
    sleep(IDLE).await;
    let (begun, turn) = (counted(&mut http).await?, clock::mono());
    let idle = (begun - before) / (turn - start) as f64;
    for _ in 0..TURNS {
        session.turn(Some(&mut http)).await?;
    }
    sleep(IDLE).await;
    let all = counted(&mut http).await? - begun;
    let own = all - idle * (clock::mono() - turn) as f64;
    listening.abort_all();
    session.close().await?;
    Ok(own / TURNS as f64)
}

/// A chat with this many messages that its model does not see any more: one turn, copied beside the
/// daemon, then cleared. What the prompt is made of does not depend on the length.
pub async fn grown(target: &Target, place: &Place, messages: usize) -> Result<Session> {
    let mut http = target.http().await?.ok_or("the proxy has no history")?;
    let chat = target.create(&mut http).await?;
    target.subscribe(chat.clone()).await?.close().await?;
    let copies = messages / 2 - 1;
    // Only what a chat is created with has the first revision, and no history of a real chat has thousands of that.
    let copied = COLUMNS.replacen("revision", "max(revision, 2)", 1);
    let copied_pg = COLUMNS.replacen("revision", "greatest(revision, 2)", 1);
    let copy = |chat: &str, columns: &str| {
        format!(
            "WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {copies}) \
             INSERT INTO chat_messages ({COLUMNS}) SELECT {columns} FROM chat_messages, s \
             WHERE chat_id = {chat} AND role IN ('user', 'assistant') ORDER BY i, id"
        )
    };
    match place {
        Place::Sqlite(path) => {
            let mut conn = SqliteConnection::establish(&path.display().to_string())?;
            let id = format!("x'{}'", chat.replace('-', ""));
            conn.batch_execute(&format!(
                "PRAGMA busy_timeout = {}; {}",
                PATIENCE.as_millis(),
                copy(&id, &copied)
            ))?;
        }
        Place::Postgres(url) => {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
            let driver = tokio::spawn(connection);
            client.batch_execute(&copy(&format!("'{chat}'"), &copied_pg)).await?;
            client.batch_execute("ANALYZE chat_messages").await?;
            drop(client);
            driver.await??;
        }
    }
    http.expect(200, "POST", &format!("/api/experimental/chats/{chat}/clear"), "").await?;
    let mut session = target.subscribe(chat).await?;
    session.turn(Some(&mut http)).await?;
    Ok(session)
}

/// Turns one after the other, on a daemon that does nothing else.
pub async fn turns(target: &Target, pid: u32, session: &mut Session) -> Result<Cost> {
    let mut http = target.http().await?.ok_or("the proxy has no history")?;
    let (mut accepted, mut reach) = (Vec::with_capacity(TURNS), Vec::with_capacity(TURNS));
    let cpu = clock::cpu(pid)?;
    for _ in 0..TURNS {
        let turn = session.turn(Some(&mut http)).await?;
        accepted.push(turn.accepted.saturating_sub(turn.sent) as f64 / 1e6);
        reach.push(turn.arrived.saturating_sub(turn.sent) as f64 / 1e6);
    }
    let cpu = (clock::cpu(pid)? - cpu) as f64 / 1e6 / TURNS as f64;
    accepted.sort_by(f64::total_cmp);
    reach.sort_by(f64::total_cmp);
    Ok(Cost { accepted: quantile(&accepted, 0.5), reach: quantile(&reach, 0.5), cpu })
}
