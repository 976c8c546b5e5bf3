//! Idle chats are archived, archived ones are deleted in the end.

use super::set;
use crate::support::{Harness, both, client::Api, fake_model::says, outside::eventually, turns::id};
use serde_json::json;

const METRIC: &str = "chatd_chat_auto_archive_records_archived_total";

/// A chat that has had its answer.
async fn answered(api: &Api) -> String {
    let chat = id(&api.create_chat("Q").await);
    api.stream(&chat, None).await.answered(1).await;
    chat
}

fn prepared(h: &Harness) {
    h.configure("[stream]\njanitor_interval = \"100ms\"\nsync_interval = \"100ms\"");
    h.model.otherwise(|_| says("A"));
}

both! {
    async fn chats_in_which_nothing_happens_are_archived(h: Harness) {
        prepared(&h);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (idle, pinned, fresh) = (answered(&api).await, answered(&api).await, answered(&api).await);
        api.patch(&format!("/chats/{pinned}"), json!({ "pin_order": 1 })).await.empty(204);
        let ago = format!(
            "UPDATE chat_messages SET created_at = {} WHERE chat_id IN ({}, {})",
            h.moment(3), h.uuid(&idle), h.uuid(&pinned)
        );
        h.execute(&daemon, &ago).await;
        let mut watch = api.watch().await;
        set(&api, "auto-archive-days", json!({ "auto_archive_days": 2 })).await;
        watch.kind("deleted", &idle).await;
        eventually("it is counted", async || daemon.metric(METRIC).await.filter(|n| *n >= 1.0)).await;
        assert_eq!(daemon.metric(METRIC).await, Some(1.0));
        for (chat, archived) in [(&idle, true), (&pinned, false), (&fresh, false)] {
            assert_eq!(api.chat(chat).await["archived"], json!(archived));
        }
        assert_eq!(h.broken_rules(&daemon).await, [""; 0]);
    }

    async fn archived_chats_are_deleted_with_their_files_some_time_later(h: Harness) {
        prepared(&h);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let file = api.upload("notes.txt", "text/plain", b"remember".to_vec()).await.json(201)["id"].clone();
        let file = file.as_str().expect("an id").to_owned();
        let body = json!({ "content": [{ "type": "text", "text": "Q" }, { "type": "file", "file_id": file }] });
        let old = id(&api.create_chat_with(body).await);
        api.stream(&old, None).await.answered(1).await;
        // Whose chat it is is remembered from now on.
        api.get(&format!("/chats/{old}/messages")).await.json(200);
        let (recent, live) = (answered(&api).await, answered(&api).await);
        for chat in [&old, &recent] {
            api.patch(&format!("/chats/{chat}"), json!({ "archived": true })).await.empty(204);
        }
        // All of it happened long ago; only when it was archived counts.
        h.execute(&daemon, &format!("UPDATE chats SET created_at = {0}, updated_at = {0}", h.moment(99))).await;
        set(&api, "retention-days", json!({ "retention_days": 0 })).await;
        let archived = |chat: &str, days| format!("UPDATE chats SET archived_at = {} WHERE id = {}", h.moment(days), h.uuid(chat));
        h.execute(&daemon, &archived(&old, 31)).await;
        h.execute(&daemon, &archived(&recent, 29)).await;
        let mut watching = api.stream(&old, None).await;
        watching.until("the history", |f| f.messages.len() == 2).await;
        set(&api, "retention-days", json!({ "retention_days": 30 })).await;
        eventually("the chat is gone", async || {
            (api.get(&format!("/chats/{old}")).await.status == 404).then_some(())
        })
        .await;
        // Nothing will ever come on its stream.
        assert_eq!(watching.closed().await.code, 1000);
        api.get(&format!("/chats/files/{file}")).await.problem(404);
        api.get(&format!("/chats/{old}/messages")).await.problem(404);
        assert_eq!(api.get("/chats?q=archived:true").await.json(200).as_array().map(Vec::len), Some(1));
        assert_eq!(api.chat(&recent).await["archived"], json!(true));
        assert_eq!(api.chat(&live).await["archived"], json!(false));
        for table in ["chat_messages", "chat_files", "chat_queued_messages"] {
            let left = format!("SELECT count(*) AS n FROM {table} WHERE chat_id = {}", h.uuid(&old));
            assert_eq!(h.number(&daemon, &left).await, 0, "{table}");
        }
    }
}
