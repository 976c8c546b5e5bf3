//! How many statements the reading requests take (api.md §2.4–2.6): a bounded number, whatever is in the database.

use crate::support::{
    both,
    client::Api,
    daemon::DaemonProcess,
    fake_model::says,
    outside::eventually,
    turns::{id, text},
};
use serde_json::json;

const METRIC: &str = "chatd_store_statements_total";
/// Measurements of each request: the loops of the daemon also read, but not each time.
const TIMES: usize = 6;
/// Most measurements until a request is seen without them, on a machine that has other work.
const PATIENCE: usize = 60;
/// No reading request takes more statements.
const MOST: i64 = 10;

/// The fewest statements that went to the database while a path was read. What else reads only adds to them, so it is
/// looked until they are `enough`.
async fn statements(daemon: &DaemonProcess, api: &Api, path: &str, enough: Option<i64>) -> i64 {
    let count = async || daemon.metric(METRIC).await.expect("it is counted");
    api.get(path).await.json(200);
    let mut fewest = i64::MAX;
    for time in 0..PATIENCE {
        if enough.map_or(time == TIMES, |enough| fewest <= enough) {
            break;
        }
        let before = count().await;
        api.get(path).await.json(200);
        #[expect(clippy::cast_possible_truncation, reason = "a small whole number")]
        let more = (count().await - before) as i64;
        fewest = fewest.min(more);
    }
    fewest
}

/// Makes chats and has one of them go on for so many turns; waits until all are at rest.
async fn fill(api: &Api, one: &str, chats: usize, turns: usize) {
    for n in 0..chats {
        let question = format!("Question {n}");
        let body = json!({ "content": text(&question)["content"], "labels": { "team": "a" } });
        api.create_chat_with(body).await;
    }
    for _ in 0..turns {
        api.send(one, "Go on.").await;
    }
    eventually("all are at rest", async || {
        let list = api.get("/chats?limit=200").await.json(200);
        let all = list.as_array().expect("a list");
        all.iter().all(|chat| chat["status"] == "waiting").then_some(())
    })
    .await;
}

both! {
    async fn reading_takes_as_many_statements_of_much_as_of_little(h: Harness) {
        h.model.otherwise(|_| says("An answer."));
        // What looks for work often would be counted with the requests.
        h.configure("[worker]\nacquire_interval = \"30s\"\nheartbeat_interval = \"10s\"\nlease = \"60s\"");
        let daemon = h.daemon().await;
        let api = daemon.api();
        let one = id(&api.create_chat("The first question").await);
        fill(&api, &one, 5, 2).await;
        let newest = api.history(&one).await.last().expect("a message")["id"].clone();
        let paths = [
            "/chats".to_owned(),
            "/chats?limit=200".to_owned(),
            "/chats?label=team:a".to_owned(),
            "/chats?q=title:question".to_owned(),
            "/chats?q=search:answer".to_owned(),
            "/chats?q=has_unread:true".to_owned(),
            format!("/chats?after_id={one}"),
            format!("/chats/{one}"),
            format!("/chats/{one}/messages"),
            format!("/chats/{one}/messages?before_id={newest}"),
            format!("/chats/{one}/messages?after_id=0"),
            format!("/chats/{one}/prompts"),
        ];
        let mut counts: Vec<Vec<i64>> = Vec::new();
        for (chats, turns) in [(0, 0), (25, 15)] {
            fill(&api, &one, chats, turns).await;
            let mut row = Vec::new();
            for (at, path) in paths.iter().enumerate() {
                let enough = counts.first().map(|first| first[at]);
                row.push(statements(&daemon, &api, path, enough).await);
            }
            counts.push(row);
        }
        assert!(api.history(&one).await.len() >= 30, "there is more than at first");
        for (at, path) in paths.iter().enumerate() {
            let of: Vec<i64> = counts.iter().map(|row| row[at]).collect();
            assert!(of.iter().all(|n| *n <= of[0] && (1..=MOST).contains(n)), "{path}: {of:?}");
        }
    }
}
