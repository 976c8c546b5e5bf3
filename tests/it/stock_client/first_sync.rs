//! What a client gets on connecting, in the order of api.md §4.3, in states that tell more than messages.

use crate::{
    support::{
        both,
        client::{Api, Fold},
        fake_model::{Gate, Reply, fails, says},
        turns::{id, text, words},
    },
    tools::with_client_tool,
};
use serde_json::json;

/// The events of a new connection until `done`, without the resets that change nothing.
async fn first_words(api: &Api, chat: &str, done: impl Fn(&Fold) -> bool) -> Vec<String> {
    let mut stream = api.stream(chat, None).await;
    stream.until("the first sync", done).await;
    let mut seen = words(&stream.events());
    seen.retain(|word| word != "preview_reset");
    seen
}

both! {
    async fn of_a_failed_chat_with_a_queue(h: Harness) {
        let gate = Gate::new();
        h.model.push([fails(401, json!({ "error": { "message": "bad key" } })).gate(&gate)]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        gate.reached().await;
        api.send(&chat, "Next").await;
        gate.open();
        api.stream(&chat, None).await.status("error").await;
        let seen = first_words(&api, &chat, |f| f.error.is_some()).await;
        assert_eq!(seen, ["message user", "queue of 1", "status error", "error"]);
    }

    async fn of_a_chat_that_asks_its_client_and_has_a_queue(h: Harness) {
        h.model.push([Reply::empty().calls("ask_client", json!({ "what": "x" })).with_id("a")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat_with(with_client_tool("Ask.")).await);
        api.stream(&chat, None).await.status("requires_action").await;
        api.send(&chat, "Next").await;
        let seen = first_words(&api, &chat, |f| f.action_required.is_some()).await;
        let expected = ["message user", "message assistant", "queue of 1", "status requires_action", "action_required"];
        assert_eq!(seen, expected);
    }

    async fn of_a_chat_that_waits_for_its_next_attempt(h: Harness) {
        let busy = json!({ "error": { "message": "slow down" } });
        h.model.push([fails(429, busy).header("retry-after", "600")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        api.stream(&chat, None).await.until("the retry", |f| !f.retries.is_empty()).await;
        let seen = first_words(&api, &chat, |f| !f.retries.is_empty()).await;
        assert_eq!(seen, ["message user", "status running", "retry"]);
        // Nobody retries any more: who comes now is not told that somebody does.
        api.interrupt(&chat).await;
        api.stream(&chat, None).await.status("waiting").await;
        let seen = first_words(&api, &chat, |f| f.is("waiting")).await;
        assert_eq!(seen, ["message user", "status waiting"]);
    }

    /// Who holds nothing has nothing to drop; who says that it holds a message that is gone has.
    async fn of_an_edited_chat(h: Harness) {
        h.model.push([says("A"), says("B")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let first = api.stream(&chat, None).await.answered(1).await.messages.keys().copied().min().expect("messages");
        api.patch(&format!("/chats/{chat}/messages/{first}"), text("Q2")).await.json(200);
        api.stream(&chat, None).await.answered(1).await;
        let all = ["message user", "message assistant", "status waiting"];
        for after_id in [None, Some(0)] {
            let mut stream = api.stream(&chat, after_id).await;
            stream.until("the first sync", |f| f.is("waiting")).await;
            let mut seen = words(&stream.events());
            seen.retain(|word| word != "preview_reset");
            assert_eq!(seen, all, "{after_id:?}");
        }
        let mut stream = api.stream(&chat, Some(first)).await;
        stream.until("the first sync", |f| f.is("waiting")).await;
        assert_eq!((words(&stream.events())[0].as_str(), stream.fold.texts("assistant")), ("history_reset", vec!["B".to_owned()]));
    }

    async fn of_an_archived_chat(h: Harness) {
        h.model.push([says("A")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        api.stream(&chat, None).await.answered(1).await;
        api.patch(&format!("/chats/{chat}"), json!({ "archived": true })).await.empty(204);
        let seen = first_words(&api, &chat, |f| f.is("waiting")).await;
        assert_eq!(seen, ["message user", "message assistant", "status waiting"]);
    }
}
