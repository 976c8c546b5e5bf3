//! Two replicas on one PostgreSQL: what happens when the owner of a chat goes away.

use crate::support::{
    Engine, Harness,
    client::Api,
    daemon::DaemonProcess,
    fake_model::{Ending, Gate, says},
    outside::{eventually, freeze, stays, thaw},
    run,
};
use std::time::Duration;

/// Long enough for a busy machine not to lose it with a beat each 500 ms. How soon a lost one is taken
/// over is measured in `bench/`, not here.
const LEASE: Duration = Duration::from_secs(4);

/// The owner of a chat that stands before a gate in its model stream, and another replica.
struct Pair {
    owner: DaemonProcess,
    other: DaemonProcess,
    /// A caller of the other replica.
    api: Api,
    chat: String,
    gate: Gate,
}

impl Pair {
    async fn start(h: &Harness) -> Self {
        let gate = Gate::new();
        h.model.push([says("first").gate(&gate).says(" and last")]);
        let owner = h.daemon().await;
        let chat = owner.api().create_chat("Who drives?").await;
        gate.reached().await;
        let other = h.daemon().await;
        let api = other.api_as(&owner.token());
        Self { owner, other, api, chat: chat["id"].as_str().unwrap().to_owned(), gate }
    }

    /// Waits until the second request was made.
    async fn taken_over(&self, h: &Harness) {
        eventually("the other replica calls the model", async || {
            (h.turn_requests().len() == 2).then_some(())
        })
        .await;
    }
}

fn configure(h: &Harness, lease: &str, grace: &str) {
    h.configure(&format!(
        "[worker]\nlease = \"{lease}\"\nheartbeat_interval = \"500ms\"\n[server]\nshutdown_grace = \"{grace}\""
    ));
}

#[test]
fn a_killed_owner_is_replaced_when_its_lease_ends() {
    run(Engine::Postgres, "takeover_kill", |h| async move {
        configure(&h, "4s", "5s");
        let mut pair = Pair::start(&h).await;
        let mut stream = pair.api.stream(&pair.chat, None).await;
        stream.status("running").await;
        h.model.push([says("taken over")]);
        pair.owner.kill_9().await;
        pair.taken_over(&h).await;
        assert_eq!(stream.settled().await.texts("assistant"), ["taken over"]);
        assert_eq!(pair.api.history(&pair.chat).await.len(), 2);
    });
}

#[test]
fn an_owner_that_is_asked_to_end_hands_over_without_waiting_for_the_lease() {
    run(Engine::Postgres, "takeover_term", |h| async move {
        configure(&h, "60s", "500ms");
        let mut pair = Pair::start(&h).await;
        let mut stream = pair.api.stream(&pair.chat, None).await;
        stream.status("running").await;
        h.model.push([says("handed over")]);
        pair.owner.sigterm();
        // Long before the lease would have ended.
        pair.taken_over(&h).await;
        assert_eq!(pair.owner.wait().await.code(), Some(143));
        assert_eq!(stream.settled().await.texts("assistant"), ["handed over"]);
        assert_eq!(pair.api.history(&pair.chat).await.len(), 2);
    });
}

#[test]
fn an_owner_that_was_stopped_and_wakes_up_commits_nothing() {
    run(Engine::Postgres, "stale_owner", |h| async move {
        configure(&h, "4s", "5s");
        let pair = Pair::start(&h).await;
        let mut stream = pair.api.stream(&pair.chat, None).await;
        stream.status("running").await;
        h.model.push([says("by the second")]);
        freeze(pair.owner.pid()).await;
        pair.taken_over(&h).await;
        stream.settled().await;
        // The rest of the first answer lies in its socket before it wakes up.
        pair.gate.open();
        assert_eq!(h.model.ended(0).await, Ending::Played);
        thaw(pair.owner.pid());
        eventually("the first owner has let go", async || {
            (pair.owner.metric("chatd_owned_chats").await == Some(0.0)).then_some(())
        })
        .await;
        let texts = stream.fold.texts("assistant");
        assert_eq!(texts, ["by the second"]);
        stays(Duration::from_secs(1), "the history holds one answer", async || {
            pair.api.history(&pair.chat).await.len() == 2 && h.turn_requests().len() == 2
        })
        .await;
        // It is a replica like any other again.
        h.model.push([says("and on")]);
        let first = pair.owner.api();
        first.send(&pair.chat, "Go on").await;
        let mut stream = first.stream(&pair.chat, None).await;
        assert_eq!(stream.settled().await.texts("assistant"), ["by the second", "and on"]);
        assert!(pair.other.runs());
    });
}

#[test]
fn a_healthy_long_step_is_not_taken_away() {
    run(Engine::Postgres, "healthy_step", |h| async move {
        configure(&h, "4s", "5s");
        let pair = Pair::start(&h).await;
        stays(LEASE * 2 + Duration::from_secs(1), "one replica works", async || {
            h.turn_requests().len() == 1 && pair.api.chat(&pair.chat).await["status"] == "running"
        })
        .await;
        pair.gate.open();
        let mut stream = pair.api.stream(&pair.chat, None).await;
        assert_eq!(stream.settled().await.texts("assistant"), ["first and last"]);
        assert_eq!(h.turn_requests().len(), 1);
    });
}
