//! What is made at one replica can be used at another at once, as behind a load balancer.

use super::{chat_with, model, provider};
use crate::support::{Engine, fake_model::says, run};
use serde_json::json;

#[test]
fn a_model_made_at_one_replica_can_be_picked_at_another_at_once() {
    run(Engine::Postgres, "models_of_replicas", |h| async move {
        h.model.otherwise(|_| says("A"));
        let (one, two) = (h.daemon().await, h.daemon().await);
        let (here, there) = (one.api(), two.api_as(&one.token()));
        let p = provider(&h, &here, "mine", &["test-key"]).await;
        // More than one: the hint of a change may have been quick.
        for round in 0..8 {
            let made = model(&here, &p, &format!("new-{round}")).await;
            let id = made["id"].as_str().unwrap();
            let threshold = format!("/chats/config/user-compaction-thresholds/{id}");
            there.put(&threshold, json!({ "threshold_percent": 50 })).await.json(200);
            let chat = chat_with(&there, &made, "Q").await;
            there.stream(&chat, None).await.answered(1).await;
            let made = model(&here, &p, &format!("other-{round}")).await;
            let chat = chat_with(&there, &made, "Q").await;
            there.stream(&chat, None).await.answered(1).await;
            let made = model(&here, &p, &format!("third-{round}")).await;
            let body = json!({ "model_config_id": made["id"] });
            there.put("/chats/config/model-override/general", body).await.empty(204);
        }
    });
}
