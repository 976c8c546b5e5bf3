//! Titles that an owner asks for (api.md §2.8, agent-loop.md §14.3).

use crate::support::{
    Harness, both,
    client::Api,
    daemon::DaemonProcess,
    fake_model::{Gate, proposes, says},
    turns::id,
};
use serde_json::json;

/// A chat that its owner has named, so that nothing renames it by itself.
async fn named(h: &Harness, daemon: &DaemonProcess) -> (Api, String) {
    h.model.push([says("It was the cookie.")]);
    let api = daemon.api();
    let chat = id(&api.create_chat("Why does the login test fail?").await);
    api.stream(&chat, None).await.answered(1).await;
    h.model.side_ended(0).await;
    api.patch(&format!("/chats/{chat}"), json!({ "title": "By hand" })).await.empty(204);
    (api, chat)
}

both! {
    async fn regenerate_stores_and_propose_does_not(h: Harness) {
        let daemon = h.daemon().await;
        let (api, chat) = named(&h, &daemon).await;
        let mut watch = api.watch().await;
        let proposed = api.post(&format!("/chats/{chat}/title/propose"), json!({})).await.json(200);
        assert_eq!(proposed, json!({ "title": "A proposed title" }));
        let before = api.chat(&chat).await;
        assert_eq!(before["title"], "By hand");
        let after = api.post(&format!("/chats/{chat}/title/regenerate"), json!({})).await.json(200);
        assert_eq!((&after["title"], &after["id"]), (&json!("A proposed title"), &json!(chat)));
        assert_eq!((&after["updated_at"], &after["status"]), (&before["updated_at"], &before["status"]));
        // The rename before may be told late, with the chat as it was then.
        let event = watch.until("the new title", |e| e["chat"]["title"] == "A proposed title").await;
        assert_eq!((&event["kind"], &event["chat"]["id"]), (&json!("title_change"), &json!(chat)));
        // A manual rename stays: later turns do not name the chat again.
        api.patch(&format!("/chats/{chat}"), json!({ "title": "Mine" })).await.empty(204);
        let asked = h.model.side_requests().len();
        h.model.push([says("More.")]);
        api.send(&chat, "And now?").await;
        api.stream(&chat, None).await.answered(2).await;
        assert_eq!((h.model.side_requests().len(), &api.chat(&chat).await["title"]), (asked, &json!("Mine")));
    }

    async fn one_run_at_a_time_and_only_the_owners(h: Harness) {
        let daemon = h.daemon().await;
        let (api, chat) = named(&h, &daemon).await;
        let gate = Gate::new();
        let held = gate.clone();
        h.model.answer_titles(move |request| proposes(request, &json!({ "title": "Slow" })).gate(&held));
        let path = format!("/chats/{chat}/title/propose");
        let (first, second) = tokio::join!(api.post(&path, json!({})), async {
            gate.reached().await;
            let second = api.post(&format!("/chats/{chat}/title/regenerate"), json!({})).await;
            gate.open();
            second
        });
        assert_eq!(first.json(200), json!({ "title": "Slow" }));
        second.problem(409);
        // The lock was given back.
        assert_eq!(api.post(&path, json!({})).await.json(200)["title"], "Slow");
        let eve = daemon.api_as(&daemon.token_for("eve", &[]).await);
        eve.post(&path, json!({})).await.problem(404);
        h.model.push([says("Hers.")]);
        let hers = id(&eve.create_chat("Hello there").await);
        eve.stream(&hers, None).await.answered(1).await;
        api.post(&format!("/chats/{hers}/title/regenerate"), json!({})).await.problem(403);
    }

    async fn the_built_in_model_names_a_chat_too(h: Harness) {
        h.configure(
            "[[providers]]\nname = \"script\"\ntype = \"scripted\"\n\
             [[models]]\nname = \"script\"\nprovider = \"script\"\nmodel = \"script\"\ndefault = true\ncontext_limit = 8000\n",
        );
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Why does the \"login\" test fail every day at noon?").await);
        api.stream(&chat, None).await.answered(1).await;
        let named = api.post(&format!("/chats/{chat}/title/regenerate"), json!({})).await.json(200);
        assert_eq!(named["title"], "Why does the login test fail");
        api.send(&chat, "And now?").await;
        api.stream(&chat, None).await.answered(2).await;
        let proposed = api.post(&format!("/chats/{chat}/title/propose"), json!({})).await.json(200);
        assert_eq!(proposed, json!({ "title": "And now?" }));
    }

    async fn an_answer_that_is_no_title_is_an_error(h: Harness) {
        let daemon = h.daemon().await;
        let (api, chat) = named(&h, &daemon).await;
        h.model.answer_titles(|request| proposes(request, &json!({ "title": "" })));
        api.post(&format!("/chats/{chat}/title/regenerate"), json!({})).await.problem(500);
        assert_eq!(api.chat(&chat).await["title"], "By hand");
    }
}
