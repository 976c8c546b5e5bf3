//! Links that are lost while something runs.

use super::{Bound, LOCAL, error, mcp, ok};
use crate::rows::panel::{self, Panel};
use crate::support::{
    Engine, Harness, both,
    client::Fold,
    daemon::DaemonProcess,
    fake_model::{calls, says},
    outside::{eventually, within},
    run, run_within, tool_server,
};
use serde_json::{Value, json};
use std::{net::SocketAddr, path::Path, time::Duration};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};

/// Stands between the agents and the daemon.
pub struct Between {
    pub address: SocketAddr,
    /// Where the daemon is; `None`: the line is cut.
    to: watch::Sender<Option<SocketAddr>>,
}

impl Between {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (to, open) = watch::channel(None);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut open = open.clone();
                tokio::spawn(async move {
                    let Some(to) = *open.borrow_and_update() else { return };
                    let Ok(mut far) = TcpStream::connect(to).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = open.changed() => {}
                    }
                });
            }
        });
        Self { address, to }
    }

    pub fn cut(&self) {
        self.to.send_replace(None);
    }

    pub fn mend(&self, url: &str) {
        let address = url.strip_prefix("http://").expect("a URL").parse().expect("an address");
        self.to.send_replace(Some(address));
    }
}

/// A command that waits for the file `go`.
const WAITS: &str = "echo started >>marks; while ! test -e go; do sleep 0.05; done; echo ended";

/// A chat whose command runs, with its daemon.
async fn running(h: &Harness, between: &Between, timeout: &str) -> (DaemonProcess, Bound) {
    h.configure(LOCAL);
    h.configure(&format!("[server]\npublic_url = \"http://{}\"\n", between.address));
    h.model.push([says("Hi.")]);
    let daemon = h.daemon().await;
    between.mend(daemon.url());
    let bound = Bound::make(&daemon, "link").await;
    bound.api.stream(&bound.chat, None).await.settled().await;
    h.model.push([calls("execute", json!({ "command": WAITS, "timeout": timeout })), says("Done.")]);
    bound.api.send(&bound.chat, "Run it.").await;
    let marks = format!("{}/marks", bound.folder);
    eventually("the command has begun", async || std::fs::exists(&marks).unwrap().then_some(())).await;
    (daemon, bound)
}

/// The one result of the chat.
async fn result(bound: &Bound) -> Value {
    let mut stream = bound.api.stream(&bound.chat, None).await;
    let ended = |held: &Fold| held.texts("assistant").last().is_some_and(|text| text == "Done.");
    stream.until("the end", ended).await.parts_of("tool-result").remove(0)
}

both! {
    async fn a_command_is_gone_on_with_over_the_next_link(h: Harness) {
        let between = Between::start().await;
        let (daemon, bound) = running(&h, &between, "60s").await;
        between.cut();
        bound.has_agent("disconnected").await;
        std::fs::write(format!("{}/go", bound.folder), "").unwrap();
        between.mend(daemon.url());
        let result = result(&bound).await;
        assert_eq!((&ok(&result)["exit_code"], &ok(&result)["output"]), (&json!(0), &json!("ended\n")), "{result}");
        assert_eq!(std::fs::read_to_string(format!("{}/marks", bound.folder)).unwrap(), "started\n");
        bound.end().await;
    }
}

/// A call waits for a link as long as a dial may take, which is half of this: it ends with what is known, and the command,
/// which goes on, can be asked for as soon as the link is back.
#[test]
fn a_command_whose_link_is_cut_for_a_minute_is_found_again() {
    run_within(Duration::from_secs(180), Engine::Sqlite, "link_minute", |h| async move {
        let between = Between::start().await;
        let (daemon, bound) = running(&h, &between, "150s").await;
        let cut = Instant::now();
        between.cut();
        let failed = within(Duration::from_secs(58), "the result", async || {
            let history = bound.api.history(&bound.chat).await;
            let mut parts = history.iter().flat_map(|m| m["content"].as_array().cloned().unwrap_or_default());
            parts.find(|part| part["type"] == "tool-result")
        })
        .await;
        let why = error(&failed).to_owned();
        assert!(cut.elapsed() > Duration::from_secs(25), "it was waited for: {:?}", cut.elapsed());
        // The command does not know of all this.
        std::fs::write(format!("{}/go", bound.folder), "").unwrap();
        result(&bound).await;
        tokio::time::sleep_until(cut + Duration::from_secs(60)).await;
        between.mend(daemon.url());
        bound.has_agent("connected").await;
        let process = match why.split('"').nth(1) {
            Some(id) => {
                assert!(
                    why.contains("process_output") && why.contains("do not start it a second time"),
                    "{why}"
                );
                id.to_owned()
            }
            None => {
                assert!(why.contains("whether it has done this is not known"), "{why}");
                let list = bound.call(&h, "process_list", json!({})).await;
                ok(&list)["processes"][0]["id"].as_str().expect("an id").to_owned()
            }
        };
        let seen = bound.call(&h, "process_output", json!({ "process_id": process })).await;
        assert_eq!((&ok(&seen)["exit_code"], &ok(&seen)["output"]), (&json!(0), &json!("ended\n")), "{seen}");
        assert_eq!(std::fs::read_to_string(format!("{}/marks", bound.folder)).unwrap(), "started\n");
        let list = bound.call(&h, "process_list", json!({})).await;
        assert_eq!(ok(&list)["processes"].as_array().map(Vec::len), Some(1), "{list}");
        bound.end().await;
    });
}

#[test]
fn a_link_that_does_not_come_back_is_told_and_nothing_starts_twice() {
    run_within(Duration::from_secs(120), Engine::Sqlite, "link_gone", |h| async move {
        let between = Between::start().await;
        let (daemon, bound) = running(&h, &between, "2s").await;
        between.cut();
        // The agent is waited for as long as a dial may take.
        let failed = within(Duration::from_secs(60), "the result", async || {
            let history = bound.api.history(&bound.chat).await;
            let mut parts = history.iter().flat_map(|m| m["content"].as_array().cloned().unwrap_or_default());
            parts.find(|part| part["type"] == "tool-result")
        })
        .await;
        let why = error(&failed).to_owned();
        result(&bound).await;
        between.mend(daemon.url());
        bound.has_agent("connected").await;
        // The answer to the start may have been lost with the link, or have come before.
        let process = match why.split('"').nth(1) {
            Some(id) => {
                // The last question or the dial for it, whichever gives up first.
                let ended = why.contains("cannot be had") || why.contains("timed out");
                assert!(ended && why.contains("process_output"), "{why}");
                id.to_owned()
            }
            None => {
                assert!(why.contains("whether it has done this is not known"), "{why}");
                let list = bound.call(&h, "process_list", json!({})).await;
                ok(&list)["processes"][0]["id"].as_str().expect("an id").to_owned()
            }
        };
        std::fs::write(format!("{}/go", bound.folder), "").unwrap();
        let seen =
            bound.call(&h, "process_output", json!({ "process_id": process, "wait_timeout": "30s" })).await;
        assert_eq!((&ok(&seen)["exit_code"], &ok(&seen)["output"]), (&json!(0), &json!("ended\n")), "{seen}");
        assert_eq!(std::fs::read_to_string(format!("{}/marks", bound.folder)).unwrap(), "started\n");
        bound.end().await;
    });
}

#[test]
fn it_does_not_matter_which_replica_has_the_link() {
    run(Engine::Postgres, "two_replicas", |h| async move {
        h.configure(LOCAL);
        h.model.push([says("Hi.")]);
        // Each has a data folder of its own, so they share only the keys, the database and this host.
        h.configure(&format!("[secrets]\nencryption_key_file = {:?}\n", h.folder().join("keys")));
        let first = h.daemon().await;
        let second = h.daemon().await;
        // Whichever takes the build on is the one that the agent dials.
        let bound = Bound::make(&first, "shared").await;
        bound.api.stream(&bound.chat, None).await.settled().await;
        tool_server::write(&bound.folder, "one", &mcp::tool("add"), mcp::TEXT);
        mcp::configure(&bound.folder, &["one"]);
        let repository = Path::new(&bound.folder).join("repository");
        panel::init(&repository);
        std::fs::write(repository.join("new"), "fresh\n").unwrap();
        for daemon in [&first, &second, &first] {
            let bound = Bound { api: bound.api.at(daemon.url()), ..bound.clone() };
            // Whoever takes a message drives its chat.
            let ran = bound.call(&h, "execute", json!({ "command": "echo $CHATD_CHAT_ID" })).await;
            assert_eq!(ok(&ran)["output"], json!(format!("{}\n", bound.chat)));
            let added = bound.call(&h, "one__add", json!({ "a": 1 })).await;
            assert_eq!(ok(&added), "first\nsecond");
            let last = h.turn(h.turns() - 1).await;
            assert!(last.tool_names().contains(&"one__add"), "a list comes over the other replica too");
            let file = format!("{}/f", bound.folder);
            let written = bound.call(&h, "write_file", json!({ "path": file, "content": "x" })).await;
            assert_eq!(ok(&written), &json!({ "ok": true }));
            assert!(
                error(&bound.call(&h, "read_file", json!({ "path": "/no" })).await)
                    .contains("does not exist")
            );
            let mut panel = Panel::open(&bound.api, &first.token(), &bound.chat).await;
            let repositories = panel.changes().await;
            assert_eq!((repositories.len(), &repositories[0]["branch"]), (1, &json!("main")));
            assert_eq!(panel.refresh().await, Vec::<Value>::new(), "nothing has changed");
        }
        // Nobody else may ask an agent by that way.
        let agent = bound.api.chat(&bound.chat).await["agent_id"].as_str().unwrap().to_owned();
        let path = format!("/api/v2/workspaceagents/{agent}/relay");
        bound.api.post(&path, json!({})).await.problem(403);
        bound.api.with_token(Some("replica-guess")).post(&path, json!({})).await.problem(401);
        bound.end().await;
    });
}
