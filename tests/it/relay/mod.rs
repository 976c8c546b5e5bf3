//! Several replicas on one database: who follows a chat elsewhere misses nothing and costs little.

mod endpoint;
mod following;
pub mod proxy;
mod replicas;
pub mod socket;

use crate::support::{Harness, client::Api, daemon::DaemonProcess};
use diesel::{QueryableByName, sql_query, sql_types::Text};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use std::time::{Duration, Instant};

/// Makes a test on PostgreSQL alone, the only engine with several replicas.
macro_rules! replicated {
    ($($(#[$doc:meta])* async fn $name:ident($h:ident: Harness) $body:block)*) => { $(
        $(#[$doc])*
        #[test]
        fn $name() {
            async fn body($h: $crate::support::Harness) $body
            $crate::support::run($crate::support::Engine::Postgres, stringify!($name), body);
        }
    )* };
}
use replicated;

/// A replica that serves streams and drives nothing. It has no token of its own: the first replica
/// made the first user.
async fn follower(h: &Harness, first: &DaemonProcess) -> (DaemonProcess, Api) {
    h.configure("[worker]\nenabled = false");
    let daemon = h.daemon().await;
    let api = Api::new(daemon.url(), Some(&first.token()));
    (daemon, api)
}

/// A replica that takes chats over.
async fn successor(h: &Harness) -> DaemonProcess {
    h.configure("[worker]\nenabled = true");
    h.daemon().await
}

/// A figure on the page of `/metrics`; 0 when it is not there yet.
async fn figure(api: &Api, name: &str) -> f64 {
    let page = api.get("//metrics").await;
    assert_eq!(page.status, 200);
    let text = String::from_utf8(page.body).expect("metrics are text");
    let line = text.lines().find_map(|l| l.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

/// Waits until a figure is this. Another process tells nobody when it changes.
pub async fn until_figure(api: &Api, name: &str, wanted: f64) {
    let since = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tick.tick().await;
        let now = figure(api, name).await;
        if (now - wanted).abs() < 0.5 {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{name} is {now}, not {wanted}");
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    value: String,
}

/// The texts that a query answers in a column `value`.
async fn ask(h: &Harness, sql: &str) -> Vec<String> {
    let mut conn = AsyncPgConnection::establish(&h.database_url).await.expect("connect to the database");
    let rows: Vec<Row> = sql_query(sql).load(&mut conn).await.expect("ask the database");
    rows.into_iter().map(|r| r.value).collect()
}

/// Pieces of text, numbered: a lost or doubled one shows.
fn pieces(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("{n} ")).collect()
}
