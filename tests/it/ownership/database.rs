//! What a database that is away, full of locks or late does to those who drive chats: nothing that lasts.

use crate::support::{
    Engine, Harness, both,
    fake_model::{Ending, Gate, says},
    outside::{freeze, stays, thaw},
    run,
    turns::id,
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use serde_json::json;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(3);

fn configure(h: &Harness) {
    h.configure("[worker]\nlease = \"3s\"\nheartbeat_interval = \"500ms\"");
}

both! {
    async fn a_process_that_stood_still_for_longer_than_its_lease_goes_on(h: Harness) {
        configure(&h);
        let gate = Gate::new();
        h.model.push([says("Still ").gate(&gate).says("here.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Still ").await;
        for _ in 0..3 {
            freeze(daemon.pid()).await;
            stays(LEASE + Duration::from_secs(1), "it stands still", async || h.turns() == 1).await;
            thaw(daemon.pid());
            stays(Duration::from_secs(1), "the step is not begun again", async || h.turns() == 1).await;
        }
        gate.open();
        assert_eq!(stream.answered(1).await.texts("assistant"), ["Still here."]);
        assert_eq!(h.turns(), 1);
    }
}

/// Leases end while nobody can renew one. Whoever comes back first must not take what the other drives.
#[test]
fn a_database_that_was_away_for_longer_than_the_lease_takes_no_chat_from_its_owner() {
    run(Engine::Postgres, "database_away", |h| async move {
        configure(&h);
        let gate = Gate::new();
        h.model.push([says("From one ").gate(&gate).says("owner.")]);
        let owner = h.daemon().await;
        let chat = id(&owner.api().create_chat("Q").await);
        gate.reached().await;
        let other = h.daemon().await;
        let api = other.api_as(&owner.token());
        let mut stream = api.stream(&chat, None).await;
        stream.shows("From one ").await;
        h.database().shut().await;
        stays(LEASE + Duration::from_secs(2), "nobody can claim", async || {
            h.turns() == 1 && api.get("//readyz").await.status == 503
        })
        .await;
        h.database().reopen().await;
        stays(Duration::from_secs(3), "nobody begins the step again", async || h.turns() == 1).await;
        gate.open();
        assert_eq!(stream.answered(1).await.texts("assistant"), ["From one owner."]);
        assert_eq!((h.turns(), api.history(&chat).await.len()), (1, 2));
    });
}

/// The server gives up waiting for a lock: that passes, and the answer that is at hand is not thrown away.
#[test]
fn an_answer_waits_until_the_database_takes_it() {
    run(Engine::Postgres, "lock_timeout", |h| async move {
        let gate = Gate::new();
        h.model.push([says("Paid for ").gate(&gate).says("once.")]);
        let mut other = AsyncPgConnection::establish(&h.database_url).await.expect("connect");
        let limit = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET lock_timeout = ''100ms''', \
                     current_database()); END $$";
        other.batch_execute(limit).await.expect("set a limit");
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Paid for ").await;
        let lock = format!("BEGIN; SELECT 1 FROM chats WHERE id = '{chat}' FOR UPDATE");
        other.batch_execute(&lock).await.expect("lock the chat");
        gate.open();
        assert_eq!(h.model.ended(0).await, Ending::Played);
        let text = json!({ "content": [{ "type": "text", "text": "More" }] });
        let refused = api.post(&format!("/chats/{chat}/messages"), text).await;
        refused.problem(503);
        assert_eq!(refused.header("retry-after"), "1");
        stays(Duration::from_secs(1), "the model is not asked again", async || h.turns() == 1).await;
        other.batch_execute("ROLLBACK").await.expect("unlock it");
        assert_eq!(stream.answered(1).await.texts("assistant"), ["Paid for once."]);
        assert_eq!(h.turns(), 1);
    });
}
