use crate::support::{
    both,
    fake_model::{calls, says},
    turns::id,
};
use serde_json::json;

both! {
    async fn the_list_of_chats_is_told_of_every_move(h: Harness) {
        h.model.push([says("A")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut watch = api.watch().await;
        let chat = id(&api.create_chat("Q").await);
        let created = watch.kind("created", &chat).await;
        assert_eq!(created["chat"]["status"], json!("running"));
        let ends = |event: &serde_json::Value| event["kind"] == "status_change" && event["chat"]["status"] == "waiting";
        watch.until("the end of the turn", ends).await;
        api.patch(&format!("/chats/{chat}"), json!({ "title": "  Mine " })).await.empty(204);
        let renamed = |event: &serde_json::Value| event["kind"] == "title_change" && event["chat"]["title"] == "Mine";
        watch.until("the new title", renamed).await;
        api.patch(&format!("/chats/{chat}"), json!({ "archived": true })).await.empty(204);
        watch.kind("deleted", &chat).await;
        let before = watch.events.len();
        api.patch(&format!("/chats/{chat}"), json!({ "archived": false })).await.empty(204);
        while !watch.events[before..].iter().any(|event| event["kind"] == "created") {
            let held = watch.events.len();
            let newest = std::sync::atomic::AtomicUsize::new(0);
            watch.until("another event", |_| newest.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= held).await;
        }
    }

    async fn a_call_of_a_client_tool_is_told_with_its_arguments(h: Harness) {
        h.model.push([calls("ask_client", json!({ "what": "name" })).with_id("call_a"), says("Thanks.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut watch = api.watch().await;
        let chat = id(&api.create_chat_with(crate::tools::with_client_tool("Ask me.")).await);
        let event = watch.kind("action_required", &chat).await;
        assert_eq!(event["tool_calls"][0]["tool_call_id"], json!("call_a"));
        assert_eq!(event["tool_calls"][0]["tool_name"], json!("ask_client"));
        let args = event["tool_calls"][0]["args"].as_str().expect("a string");
        assert_eq!(serde_json::from_str::<serde_json::Value>(args).expect("JSON"), json!({ "what": "name" }));
        let results = json!({ "results": [{ "tool_call_id": "call_a", "output": "Ann" }] });
        api.post(&format!("/chats/{chat}/tool-results"), results).await.empty(204);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(2).await;
    }

    async fn nobody_follows_the_chats_of_others(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let url = api.url("/chats/watch");
        assert_eq!(crate::support::client::refusal(&url, None).await, 401);
        assert_eq!(crate::support::client::refusal(&url, Some("wrong-token")).await, 401);
    }
}
