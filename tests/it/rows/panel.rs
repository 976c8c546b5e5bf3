//! What the chat panel shows of a workspace (api.md §4.9, §5.4): `stream/git`, and how it and
//! `stream/desktop` are refused.

use crate::{
    support::{
        both,
        client::Api,
        daemon::DaemonProcess,
        fake_model::{calls, says},
        outside::eventually,
        turns::id,
    },
    workspaces::{create, has_status},
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _},
};

/// A client of `stream/git`.
pub struct Panel(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Panel {
    /// Opens the stream of a chat.
    pub async fn open(api: &Api, token: &str, chat: &str) -> Self {
        let url = api.url(&format!("/chats/{chat}/stream/git")).replacen("http", "ws", 1);
        let mut request = url.into_client_request().expect("a URL");
        request.headers_mut().insert("Coder-Session-Token", token.parse().expect("plain text"));
        Self(tokio_tungstenite::connect_async(request).await.expect("a handshake").0)
    }

    /// The next frame: the repositories in it.
    pub async fn changes(&mut self) -> Vec<Value> {
        loop {
            match self.0.next().await.expect("no end").expect("a message") {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    assert_eq!(frame["type"], "changes", "{frame}");
                    assert!(frame["scanned_at"].is_string(), "{frame}");
                    return frame["repositories"].as_array().expect("an array").clone();
                }
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The repositories that changed since the frame before.
    pub async fn refresh(&mut self) -> Vec<Value> {
        self.0.send(Message::text(r#"{"type":"refresh"}"#)).await.expect("send a frame");
        self.changes().await
    }
}

/// Makes a repository.
pub fn init(folder: &Path) {
    let done = Command::new("git").args(["-c", "init.defaultBranch=main", "init", "-q"]).arg(folder).output();
    assert!(done.expect("run git").status.success());
}

/// A chat in a workspace whose agent is connected, and the folder of that.
pub async fn chat_with_agent(daemon: &DaemonProcess, api: &Api) -> (String, PathBuf) {
    let workspace = create(api, "panel", "local").await;
    has_status(api, &workspace, "running").await;
    let path = format!("/api/v2/workspaces/{}", id(&workspace));
    eventually("the agent", async || {
        (api.get(&path).await.json(200)["agents"][0]["status"] == "connected").then_some(())
    })
    .await;
    (chat_in(api, &workspace).await, daemon.data_dir().join("workspaces").join(id(&workspace)))
}

/// Ends the agent, which would outlive the daemon.
pub async fn end_agent(api: &Api, chat: &str) {
    let workspace = api.chat(chat).await["workspace_id"].as_str().expect("a workspace").to_owned();
    let path = format!("/api/v2/workspaces/{workspace}");
    api.post(&format!("{path}/builds"), json!({ "transition": "delete" })).await.json(201);
    eventually("the end", async || (api.get(&path).await.status == 404).then_some(())).await;
}

async fn chat_in(api: &Api, workspace: &Value) -> String {
    let content = json!([{ "type": "text", "text": "Look." }]);
    let body = json!({ "content": content, "workspace_id": workspace["id"] });
    id(&api.create_chat_with(body).await)
}

both! {
    async fn the_changes_of_a_workspace_are_followed(h: Harness) {
        h.model.otherwise(|_| crate::support::fake_model::says("Done."));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (chat, folder) = chat_with_agent(&daemon, &api).await;
        let mut panel = Panel::open(&api, &daemon.token(), &chat).await;
        assert_eq!(panel.changes().await, Vec::<Value>::new());
        init(&folder.join("one"));
        fs::write(folder.join("one/new"), "fresh\n").expect("write a file");
        let found = panel.refresh().await;
        assert_eq!((found.len(), &found[0]["branch"]), (1, &json!("main")), "{found:?}");
        assert!(found[0]["unified_diff"].as_str().is_some_and(|d| d.contains("+fresh")), "{found:?}");
        assert!(found[0]["repo_root"].as_str().is_some_and(|r| r.ends_with("/one")), "{found:?}");
        assert_eq!(panel.refresh().await, Vec::<Value>::new(), "nothing has changed");
        fs::remove_dir_all(folder.join("one")).expect("remove a repository");
        let gone = panel.refresh().await;
        assert_eq!((gone.len(), &gone[0]["removed"]), (1, &json!(true)), "{gone:?}");
        // Another client sees everything anew; who says something else is sent away.
        let mut other = Panel::open(&api, &daemon.token(), &chat).await;
        other.changes().await;
        other.0.send(Message::text("hello")).await.expect("send a frame");
        match other.0.next().await {
            Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1008),
            end => panic!("{end:?}"),
        }
        api.get(&format!("/chats/{chat}/stream/desktop")).await.problem(400);
        end_agent(&api, &chat).await;
        let gone = api.get(&format!("/chats/{chat}/stream/git")).await.problem(400);
        assert!(gone["message"].as_str().is_some_and(|m| m.contains("gone")), "{gone}");
    }

    async fn what_a_turn_changed_is_shown_with_its_chat(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        h.model.push([says("Looked.")]);
        let (chat, folder) = chat_with_agent(&daemon, &api).await;
        api.stream(&chat, None).await.answered(1).await;
        let mut watch = api.watch().await;
        init(&folder.join("one"));
        let remote = "git -C one remote add origin https://me:secret@github.com/Acme/Shop.git";
        let command = format!("{remote}; printf 'a\\n++ b\\n' > one/new");
        h.model.push([calls("execute", json!({ "command": command })), says("Changed.")]);
        api.send(&chat, "Change it.").await;
        let told = watch.kind("diff_status_change", &chat).await["chat"]["diff_status"].clone();
        assert_eq!((&told["additions"], &told["deletions"], &told["changed_files"]), (&json!(2), &json!(0), &json!(1)), "{told}");
        assert_eq!((&told["head_branch"], &told["chat_id"]), (&json!("main"), &json!(chat)), "{told}");
        assert!(told["refreshed_at"].is_string() && told.get("url").is_none(), "{told}");
        assert_eq!(api.chat(&chat).await["diff_status"], told);
        assert_eq!(
            api.get(&format!("/chats/{chat}/diff")).await.json(200),
            json!({ "chat_id": chat, "provider": "github", "remote_origin": "https://github.com/Acme/Shop.git", "branch": "main" }),
        );
        let listed = api.get("/chats?q=repo:acme/shop").await.json(200);
        assert_eq!((&listed[0]["id"], &listed[0]["diff_status"]), (&json!(chat), &told), "{listed}");
        // Whoever looks at the panel brings it up to date as well.
        fs::remove_file(folder.join("one/new")).expect("remove a file");
        Panel::open(&api, &daemon.token(), &chat).await.changes().await;
        let back = |event: &Value| event["kind"] == "diff_status_change" && event["chat"]["diff_status"]["additions"] == 0;
        watch.until("a clean folder", back).await;
        // A look that finds nothing new tells nothing: what comes next is the title.
        Panel::open(&api, &daemon.token(), &chat).await.changes().await;
        api.patch(&format!("/chats/{chat}"), json!({ "title": "Clean" })).await.empty(204);
        watch.until("the title", |event| event["chat"]["title"] == "Clean").await;
        let told = watch.events.iter().filter(|event| event["kind"] == "diff_status_change").count();
        assert_eq!(told, 2, "{:#?}", watch.events);
        end_agent(&api, &chat).await;
    }

    async fn both_streams_are_refused_before_the_upgrade(h: Harness) {
        h.configure("[[templates]]\nname = \"mine\"\nkind = \"external\"\n");
        h.model.otherwise(|_| crate::support::fake_model::says("Done."));
        let daemon = h.daemon().await;
        let (api, reader) = (daemon.api(), daemon.api_as(&daemon.token_for("reader", &[]).await));
        let reader_id = id(&reader.get("/api/v2/users/me").await.json(200));
        let plain = id(&api.create_chat("Look.").await);
        let workspace = create(&api, "dev", "mine").await;
        has_status(&api, &workspace, "running").await;
        let bound = chat_in(&api, &workspace).await;
        for stream in ["git", "desktop"] {
            let at = |chat: &str| format!("/chats/{chat}/stream/{stream}");
            api.get(&at("x")).await.problem(400);
            api.get(&at("11111111-1111-4111-8111-111111111111")).await.problem(404);
            let none = api.get(&at(&plain)).await.problem(400);
            assert!(none["message"].as_str().is_some_and(|m| m.contains("no workspace")), "{none}");
            let absent = api.get(&at(&bound)).await.problem(400);
            assert!(absent["message"].as_str().is_some_and(|m| m.contains("connecting")), "{absent}");
            reader.get(&at(&bound)).await.problem(404);
            api.with_token(None).get(&at(&bound)).await.problem(401);
        }
        api.patch(&format!("/chats/{bound}/acl"), json!({ "user_roles": { reader_id: "read" } })).await.empty(204);
        for stream in ["git", "desktop"] {
            reader.get(&format!("/chats/{bound}/stream/{stream}")).await.problem(403);
        }
        api.get(&format!("/api/v2/chats/{bound}/stream/desktop")).await.problem(404);
    }
}
