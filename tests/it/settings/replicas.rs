//! What is set on one replica holds on the others a moment later.

use super::{at, set};
use crate::support::{Engine, fake_model::says, outside::within, run, turns::id};
use serde_json::json;
use std::time::Duration;

/// Less than the 10 s after which a replica looks without a hint.
const SOON: Duration = Duration::from_secs(8);

#[test]
fn a_setting_is_seen_by_all_replicas() {
    run(Engine::Postgres, "settings_of_replicas", |h| async move {
        h.model.otherwise(|_| says("A"));
        let (one, two) = (h.daemon().await, h.daemon().await);
        let (here, there) = (one.api(), two.api_as(&one.token()));
        let body = json!({ "retention_days": 7 });
        assert_eq!(there.get(&at("retention-days")).await.json(200), json!({ "retention_days": 30 }));
        assert_eq!(there.get(&at("user-prompt")).await.json(200), json!({ "custom_prompt": "" }));
        set(&here, "retention-days", body.clone()).await;
        within(SOON, "the other replica knows", async || {
            (there.get(&at("retention-days")).await.json(200) == body).then_some(())
        })
        .await;
        let prompt = json!({ "custom_prompt": "Be brief." });
        here.put(&at("user-prompt"), prompt.clone()).await.json(200);
        within(SOON, "the other replica knows", async || {
            (there.get(&at("user-prompt")).await.json(200) == prompt).then_some(())
        })
        .await;
        // Whoever drives the chat.
        let chat = id(&there.create_chat("Q").await);
        there.stream(&chat, None).await.answered(1).await;
        assert!(h.turn(0).await.system().contains("Be brief."));
    });
}
