use crate::support::{
    both,
    fake_model::{Gate, says},
    turns::{conversation, id, text, words},
};
use serde_json::json;

both! {
    async fn an_edit_of_an_old_message_replaces_all_that_followed(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("A1"), says("A2"), says("A3").gate(&gate)]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let second = api.send(&chat, "Q2").await["message"]["id"].as_i64().expect("an id");
        stream.answered(2).await;
        stream.forget_events();
        let edited = api.patch(&format!("/chats/{chat}/messages/{second}"), text("Q3")).await.json(200);
        let new = edited["message"]["id"].as_i64().expect("an id");
        assert!(new > second, "{edited}");
        stream.shows("A3").await;
        gate.open();
        let held = stream.until("the new answer", |f| f.settled() && f.texts("assistant").contains(&"A3".to_owned())).await;
        assert_eq!(held.texts("user"), ["Q1", "Q3"]);
        assert_eq!(held.texts("assistant"), ["A1", "A3"]);
        assert_eq!(held.history_resets, 1);
        assert!(!held.messages.contains_key(&second) && held.messages.contains_key(&new));
        let begin: Vec<_> = words(&stream.events()).into_iter().take(6).collect();
        assert_eq!(begin[..4], ["history_reset", "message user", "message assistant", "message user"].map(str::to_owned));
        assert_eq!(begin[4..], ["status running", "preview_reset"].map(str::to_owned));
        assert_eq!(conversation(&h.turn(2).await), ["user: Q1", "assistant: A1", "user: Q3"]);
        assert_eq!(api.history(&chat).await.len(), 4);
        api.patch(&format!("/chats/{chat}/messages/{second}"), text("Q4")).await.problem(404);
    }

    async fn an_edit_during_a_turn_makes_its_work_obsolete(h: Harness) {
        let gate = Gate::new();
        h.model.push([says("Obsolete ").gate(&gate).says("words."), says("Fresh.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Old").await);
        let mut stream = api.stream(&chat, None).await;
        stream.shows("Obsolete ").await;
        api.send(&chat, "Queued").await;
        let first = *stream.until("the queue", |f| f.queue.len() == 1).await.messages.keys().next().expect("one");
        api.patch(&format!("/chats/{chat}/messages/{first}"), text("New")).await.json(200);
        h.model.closed_by_client(h.turn(0).await.index).await;
        let held = stream.until("the fresh answer", |f| f.settled() && f.history_resets == 1).await;
        assert_eq!((held.texts("user"), held.texts("assistant")), (vec!["New".to_owned()], vec!["Fresh.".to_owned()]));
        assert_eq!(conversation(&h.turn(1).await), ["user: New"]);
        assert_eq!(api.history(&chat).await.len(), 2);
        assert_eq!(h.turns(), 2);
    }

    async fn only_user_messages_of_this_chat_can_be_edited(h: Harness) {
        h.model.push([says("A")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q").await);
        let mut stream = api.stream(&chat, None).await;
        let answer = stream.answered(1).await.last_id().expect("messages");
        api.patch(&format!("/chats/{chat}/messages/{answer}"), text("x")).await.problem(400);
        api.patch(&format!("/chats/{chat}/messages/{}", answer + 1000), text("x")).await.problem(404);
        api.patch(&format!("/chats/{chat}/messages/0"), text("x")).await.problem(400);
        api.patch(&format!("/chats/{chat}/messages/x"), text("x")).await.problem(400);
        let first = answer - 1;
        api.patch(&format!("/chats/{chat}/messages/{first}"), json!({ "content": [] })).await.problem(400);
        assert_eq!(api.history(&chat).await.len(), 2);
    }
}
