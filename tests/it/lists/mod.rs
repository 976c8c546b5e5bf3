//! Search, changes to code, workspaces and prompts (api.md §2.4, §2.6, §2.9, §3.3).

mod statements;

use crate::support::{
    Engine, Harness, both, client::Api, daemon::DaemonProcess, fake_model::says, turns::id,
};
use serde_json::{Value, json};

/// Titles of a list in its order.
async fn titles(api: &Api, query: &str) -> Vec<String> {
    let list = api.get(&format!("/chats?{query}")).await.json(200);
    let all = list.as_array().expect("a list").iter();
    all.map(|chat| chat["title"].as_str().expect("a title").to_owned()).collect()
}

/// A chat whose turn is over, with a title of its own.
async fn chat(h: &Harness, api: &Api, title: &str, question: &str, answer: &str) -> String {
    h.model.push([says(answer)]);
    let chat = id(&api.create_chat(question).await);
    api.stream(&chat, None).await.answered(1).await;
    api.patch(&format!("/chats/{chat}"), json!({ "title": title })).await.empty(204);
    chat
}

/// What nothing but the workspaces of a later issue will write.
async fn track(h: &Harness, daemon: &DaemonProcess, chat: &str, state: &str, draft: bool, number: i64) {
    let (yes, no) = if h.engine == Engine::Sqlite { ("1", "0") } else { ("true", "false") };
    let draft = if draft { yes } else { no };
    let chat = h.uuid(chat);
    let sql = format!(
        "INSERT INTO chat_diff_statuses (chat_id, url, pull_request_state, pull_request_title, pull_request_draft, \
         changes_requested, additions, deletions, changed_files, pr_number, repository, provider, branch, diff) \
         VALUES ({chat}, 'https://git.test/Acme/Shop/pull/{number}', '{state}', 'Add the Cart {number}', {draft}, {no}, \
         3, 2, 1, {number}, 'acme/shop', 'github', 'cart', 'diff --git a b')"
    );
    h.execute(daemon, &sql).await;
}

both! {
    async fn chats_are_found_by_what_was_said_in_them(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        chat(&h, &api, "one", "Why does the login fail?", "The cookies are missing in src/main.rs").await;
        let two = chat(&h, &api, "two", "Paint the wall", "Done, in blue.").await;
        let eve = daemon.api_as(&daemon.token_for("eve", &[]).await);
        chat(&h, &eve, "hers", "My login is secret", "Sure.").await;
        assert_eq!(titles(&api, "q=search:login").await, ["one"]);
        assert_eq!(titles(&api, "q=search:cookie").await, ["one"], "words have forms");
        assert_eq!(titles(&api, "q=search:\"MAIN.rs%20login\"").await, Vec::<String>::new(), "all words in one message");
        assert_eq!(titles(&api, "q=search:\"MAIN.rs%20cookies\"").await, ["one"]);
        assert_eq!(titles(&api, "q=search:the").await, Vec::<String>::new(), "stop-words find nothing");
        assert_eq!(titles(&api, "q=search:?!").await, Vec::<String>::new());
        assert_eq!(titles(&api, "q=search:blue%20archived:false").await, ["two"]);
        // A message that was queued is found once it is in history, and one that was edited away no more.
        h.model.push([says("Repainted.")]);
        let first = api.history(&two).await[0]["id"].clone();
        let green = json!({ "content": [{ "type": "text", "text": "Paint the fence green" }] });
        api.patch(&format!("/chats/{two}/messages/{first}"), green).await.json(200);
        api.stream(&two, None).await.answered(1).await;
        assert_eq!(titles(&api, "q=search:fence").await, ["two"]);
        assert_eq!(titles(&api, "q=search:wall").await, Vec::<String>::new());
        for (q, field) in [
            ("search:", "search"), ("search:x%20title:y", "search"), ("search:x%20pr:1", "search"), ("colour:red", "colour"),
            ("bare", "q"), ("archived:1", "archived"), ("pr_status:shut", "pr_status"), ("pr:x", "pr"), ("repo:x", "repo"),
        ] {
            let problem = api.get(&format!("/chats?q={q}")).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], field, "{q}: {problem}");
        }
    }

    async fn changes_to_code_are_shown_and_searched(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let plain = chat(&h, &api, "plain", "a", "b").await;
        let draft = chat(&h, &api, "draft", "a", "b").await;
        let merged = chat(&h, &api, "merged", "a", "b").await;
        track(&h, &daemon, &draft, "open", true, 7).await;
        track(&h, &daemon, &merged, "merged", false, 8).await;
        for (q, found) in [
            ("pr_status:draft", vec!["draft"]), ("pr_status:open", vec![]), ("pr_status:merged,draft", vec!["merged", "draft"]),
            ("pr_status:none", vec!["plain"]), ("pr:7", vec!["draft"]), ("repo:ACME/shop", vec!["merged", "draft"]), ("repo:a/b", vec![]),
            ("pr_title:\"the%20cart%208\"", vec!["merged"]), ("diff_url:https://git.test/Acme/Shop/pull/7", vec!["draft"]),
            ("title:PLA", vec!["plain"]), ("status:waiting%20pr:8", vec!["merged"]), ("status:error", vec![]),
        ] {
            assert_eq!(titles(&api, &format!("q={q}")).await, found, "{q}");
        }
        let status = api.chat(&draft).await["diff_status"].clone();
        assert_eq!(status, json!({
            "chat_id": draft, "url": "https://git.test/Acme/Shop/pull/7", "pull_request_state": "open",
            "pull_request_title": "Add the Cart 7", "pull_request_draft": true, "changes_requested": false,
            "additions": 3, "deletions": 2, "changed_files": 1, "pr_number": 7,
        }));
        let diff = api.get(&format!("/chats/{draft}/diff")).await.json(200);
        assert_eq!(diff, json!({
            "chat_id": draft, "provider": "github", "branch": "cart",
            "pull_request_url": "https://git.test/Acme/Shop/pull/7", "diff": "diff --git a b",
        }));
        assert_eq!(api.get(&format!("/chats/{plain}/diff")).await.json(200), json!({ "chat_id": plain }));
        api.get("/chats/11111111-1111-4111-8111-111111111111/diff").await.problem(404);
    }

    async fn a_workspace_leads_to_its_newest_chat(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (one, two) = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222");
        let old = chat(&h, &api, "old", "a", "b").await;
        let new = chat(&h, &api, "new", "a", "b").await;
        assert!(api.chat(&old).await.get("workspace_id").is_none());
        let ids = format!("{}, {}", h.uuid(&old), h.uuid(&new));
        h.execute(&daemon, &format!("UPDATE chats SET workspace_id = {} WHERE id IN ({ids})", h.uuid(one))).await;
        assert_eq!(api.chat(&old).await["workspace_id"], one);
        let ask = async |api: &Api, ids: &str| api.get(&format!("/chats/by-workspace?workspace_ids={ids}")).await;
        let both = format!("{one},{two}");
        assert_eq!(ask(&api, &both).await.json(200), json!({ one: new }));
        api.patch(&format!("/chats/{new}"), json!({ "archived": true })).await.empty(204);
        assert_eq!(ask(&api, &both).await.json(200), json!({ one: old }));
        assert_eq!(api.get("/chats/by-workspace").await.json(200), json!({}));
        let eve = daemon.api_as(&daemon.token_for("eve", &[]).await);
        assert_eq!(ask(&eve, &both).await.json(200), json!({}));
        ask(&api, "x").await.problem(400);
        ask(&api, &vec![one; 26].join(",")).await.problem(400);
        assert_eq!(ask(&api, &vec![one; 25].join(",")).await.json(200), json!({ one: old }));
        api.patch(&format!("/chats/{old}"), json!({ "workspace_id": two })).await.problem(400);
    }

    async fn prompts_are_what_the_user_wrote_newest_first(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = chat(&h, &api, "t", "first", "yes").await;
        h.model.push([says("again")]);
        api.send(&chat, "second").await;
        api.stream(&chat, None).await.answered(2).await;
        let texts = async |limit: &str| {
            let body = api.get(&format!("/chats/{chat}/prompts{limit}")).await.json(200);
            let all = body["prompts"].as_array().expect("prompts").clone();
            all.iter().map(|p| p["text"].clone()).collect::<Vec<Value>>()
        };
        assert_eq!(texts("").await, ["second", "first"]);
        assert_eq!(texts("?limit=0").await, ["second", "first"]);
        assert_eq!(texts("?limit=1").await, ["second"]);
        for limit in ["-1", "2001", "x"] {
            api.get(&format!("/chats/{chat}/prompts?limit={limit}")).await.problem(400);
        }
    }
}
