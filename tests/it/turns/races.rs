//! Many callers at once.

use crate::support::{
    both,
    fake_model::says,
    turns::{id, text},
};
use futures_util::future::join_all;
use serde_json::json;
use std::collections::BTreeSet;

both! {
    async fn of_many_messages_sent_at_once_each_is_answered_once(h: Harness) {
        h.model.otherwise(|request| says(format!("Answer to {}.", request.last_user())));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("q").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let texts: Vec<String> = (0..10).map(|n| format!("q{n}")).collect();
        let sent = join_all(texts.iter().map(|text| api.send(&chat, text))).await;
        assert!(sent.iter().any(|s| s["queued"] == json!(false)), "{sent:#?}");
        let held = stream.answered(11).await;
        let asked: BTreeSet<String> = held.texts("user").into_iter().collect();
        assert_eq!(asked.len(), 11);
        let (asked, answered) = (held.texts("user"), held.texts("assistant"));
        for (question, answer) in asked.iter().zip(&answered) {
            assert_eq!(*answer, format!("Answer to {question}."));
        }
        assert_eq!(api.history(&chat).await.len(), 22);
        assert_eq!(h.turns(), 11);
    }

    async fn of_two_edits_of_one_message_one_wins(h: Harness) {
        h.model.push([says("A1")]);
        h.model.otherwise(|request| says(format!("Answer to {}.", request.last_user())));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let first = *stream.fold.messages.keys().next().expect("messages");
        let path = format!("/chats/{chat}/messages/{first}");
        let edits = join_all(["E1", "E2", "E3"].map(|new| api.patch(&path, text(new)))).await;
        let mut statuses: Vec<u16> = edits.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 404, 404]);
        let held = stream.until("the answer", |f| f.settled() && f.history_resets > 0).await;
        assert_eq!(held.roles(), ["user", "assistant"]);
        assert_eq!(held.texts("assistant")[0], format!("Answer to {}.", held.texts("user")[0]));
    }

    async fn an_interrupt_at_the_end_of_an_answer_harms_nothing(h: Harness) {
        for _ in 0..10 {
            h.model.push([says("One ")]);
        }
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut chats = Vec::new();
        for _ in 0..10 {
            let chat = id(&api.create_chat("Q").await);
            let mut stream = api.stream(&chat, None).await;
            stream.until("the first word or the end", |f| !f.preview.parts.is_empty() || f.texts("assistant") == ["One "]).await;
            let answer = api.post(&format!("/chats/{chat}/interrupt"), json!({})).await;
            assert!([200, 409].contains(&answer.status), "{}", answer.status);
            chats.push((chat, stream));
        }
        for (chat, stream) in &mut chats {
            let held = stream.settled().await;
            assert_eq!(held.roles(), ["user", "assistant"]);
            assert_eq!(api.history(chat).await.len(), 2);
        }
    }

    async fn one_key_used_at_once_has_one_effect(h: Harness) {
        h.model.push([says("Once.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut body = text("Once?");
        body["organization_id"] = json!(api.organization().await);
        let call = || api.try_call_with(reqwest::Method::POST, "/chats", Some(&body), &[("Idempotency-Key", "same")]);
        let answers = join_all((0..8).map(|_| call())).await;
        let chats: BTreeSet<String> = answers.into_iter().map(|a| id(&a.expect("an answer").json(201))).collect();
        assert_eq!(chats.len(), 1);
        let mut stream = api.stream(chats.first().expect("one"), None).await;
        stream.answered(1).await;
        assert_eq!(h.turns(), 1);
    }

    async fn many_chats_run_side_by_side(h: Harness) {
        h.model.otherwise(|request| says(format!("Answer to {}.", request.last_user())));
        let daemon = h.daemon().await;
        let api = daemon.api();
        join_all((0..30).map(|n| {
            let api = api.clone();
            async move {
                let chat = id(&api.create_chat(&format!("q{n}")).await);
                let mut stream = api.stream(&chat, None).await;
                assert_eq!(stream.answered(1).await.texts("assistant"), [format!("Answer to q{n}.")]);
            }
        }))
        .await;
    }
}
