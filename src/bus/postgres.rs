//! Hints between replicas over LISTEN/NOTIFY.
//!
//! NOTIFY inside a transaction serialises all commits of the database (stack-evidence §2: a third to
//! a sixth of the throughput), so hints are collected after the commit and sent together, at most
//! every few milliseconds, on a connection of their own.

pub mod connect;

use super::{Bus, Notice};
use crate::ids::WorkerId;
use connect::Server;
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use std::{pin::pin, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, error::Elapsed, interval_at, timeout},
};

/// How long hints are collected before one NOTIFY carries them.
const COALESCE: Duration = Duration::from_millis(4);
/// PostgreSQL refuses payloads of 8000 bytes; hints are split far below.
const MAX_PAYLOAD: usize = 6000;
/// First and longest wait before a lost connection is opened again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
const CHANNEL: &str = "chatd";
/// Longest time for one statement, or for a connection with its first one. Each takes milliseconds; what lies between us and
/// the server may swallow it without a word.
const WITHIN: Duration = Duration::from_secs(10);
/// How often the listening connection, which only waits, is asked whether somebody is at the other end.
const CHECK: Duration = Duration::from_secs(15);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The same with a text that says what took too long.
fn late(_: Elapsed) -> Failure {
    format!("the database did not answer within {} s", WITHIN.as_secs()).into()
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    /// Origin; a replica ignores its own hints, which it had at once.
    o: WorkerId,
    n: Vec<T>,
}

/// Sends collected hints until the bus is dropped. Runs on the database runtime.
pub async fn send(server: Server, origin: WorkerId, mut hints: mpsc::Receiver<Notice>) {
    let mut connection: Option<AsyncPgConnection> = None;
    let mut batch = Vec::new();
    while hints.recv_many(&mut batch, 256).await > 0 {
        tokio::time::sleep(COALESCE).await;
        while batch.len() < 4096
            && let Ok(more) = hints.try_recv()
        {
            batch.push(more);
        }
        for payload in payloads(origin, &batch) {
            let known = connection.is_some();
            let mut told = notify(&mut connection, &server, &payload).await;
            if told.is_err() && known {
                // A connection that was cut while it was idle says so only now. Nobody else repeats these hints.
                told = notify(&mut connection, &server, &payload).await;
            }
            if let Err(e) = told {
                // Hints may be lost: every receiver also polls.
                tracing::warn!(error = %e, "could not notify the other replicas");
            }
        }
        batch.clear();
    }
}

/// Sends one payload. After a failure there is no connection.
async fn notify(
    connection: &mut Option<AsyncPgConnection>,
    server: &Server,
    payload: &str,
) -> Result<(), Failure> {
    let known = connection.take();
    let work = async {
        let mut conn = match known {
            Some(conn) => conn,
            None => server.connect().await?,
        };
        diesel::sql_query("SELECT pg_notify($1, $2)")
            .bind::<Text, _>(CHANNEL)
            .bind::<Text, _>(payload)
            .execute(&mut conn)
            .await?;
        Ok::<_, Failure>(conn)
    };
    *connection = Some(timeout(WITHIN, work).await.map_err(late)??);
    Ok(())
}

fn payloads(origin: WorkerId, batch: &[Notice]) -> Vec<String> {
    let mut out = Vec::new();
    let mut current: Vec<Box<serde_json::value::RawValue>> = Vec::new();
    let mut size = 0;
    let flush = |current: &mut Vec<_>, out: &mut Vec<String>| {
        if !current.is_empty() {
            let envelope = Envelope { o: origin, n: std::mem::take(current) };
            out.extend(serde_json::to_string(&envelope));
        }
    };
    for notice in batch {
        let Ok(raw) = serde_json::value::to_raw_value(notice) else { continue };
        if size + raw.get().len() > MAX_PAYLOAD {
            flush(&mut current, &mut out);
            size = 0;
        }
        size += raw.get().len() + 1;
        current.push(raw);
    }
    flush(&mut current, &mut out);
    out
}

/// Receives the hints of other replicas until the process ends. Runs on the database runtime.
pub async fn listen(server: Server, origin: WorkerId, bus: Bus) {
    let mut wait = BACKOFF.0;
    loop {
        match listen_once(&server, origin, &bus, &mut wait).await {
            Ok(()) => tracing::warn!("the notification connection was closed; reconnecting"),
            Err(e) => tracing::warn!(error = %e, "the notification connection failed; reconnecting"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACKOFF.1);
    }
}

async fn listen_once(
    server: &Server,
    origin: WorkerId,
    bus: &Bus,
    wait: &mut Duration,
) -> Result<(), Failure> {
    let begin = async {
        let mut conn = server.connect().await?;
        diesel::sql_query(format!("LISTEN {CHANNEL}")).execute(&mut conn).await?;
        Ok::<_, Failure>(conn)
    };
    let mut conn = timeout(WITHIN, begin).await.map_err(late)??;
    *wait = BACKOFF.0;
    // Anything may have been missed while nobody listened.
    bus.publish_local(Notice::Resync);
    let mut check = interval_at(Instant::now() + CHECK, CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = {
            let mut stream = pin!(conn.notifications_stream());
            tokio::select! {
                next = stream.next() => Some(next),
                _ = check.tick() => None,
            }
        };
        match next {
            Some(Some(n)) => receive(&n?.payload, origin, bus),
            Some(None) => return Ok(()),
            // What arrives meanwhile waits in the stream.
            None => {
                let asked = diesel::sql_query("SELECT 1").execute(&mut conn);
                timeout(WITHIN, asked).await.map_err(late)??;
            }
        }
    }
}

/// Passes on what another replica sent.
fn receive(payload: &str, origin: WorkerId, bus: &Bus) {
    match serde_json::from_str::<Envelope<Notice>>(payload) {
        Ok(e) if e.o == origin => {}
        Ok(e) => e.n.into_iter().for_each(|n| bus.publish_local(n)),
        // A newer replica may know hints that this one does not.
        Err(_) => bus.publish_local(Notice::Resync),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ChatId;

    #[test]
    fn payloads_stay_below_the_limit_of_postgresql() {
        let origin = WorkerId::fresh();
        let batch: Vec<_> =
            (0..500).map(|i| Notice::Ownership { chat: ChatId::fresh(), snapshot: i }).collect();
        let payloads = payloads(origin, &batch);
        assert!(payloads.len() > 1);
        let mut back = Vec::new();
        for p in &payloads {
            assert!(p.len() < 8000);
            back.extend(serde_json::from_str::<Envelope<Notice>>(p).unwrap().n);
        }
        assert_eq!(back, batch);
    }
}
