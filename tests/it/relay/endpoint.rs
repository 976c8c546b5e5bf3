//! `stream/parts` as a client meets it (api.md §4.7).

use super::{ask, pieces, socket::Socket};
use crate::support::{
    Engine, both,
    client::Api,
    fake_model::{Gate, says_in},
};

const TOKEN: &str = "Coder-Session-Token";

fn url(api: &Api, chat: &str) -> String {
    api.url(&format!("/chats/{chat}/stream/parts"))
}

/// (`history_version`, `generation_attempt`) of the first part of the chat's stream.
async fn episode(api: &Api, chat: &str, token: &str) -> (i64, i64) {
    let stream = api.url(&format!("/chats/{chat}/stream"));
    let mut socket = Socket::open(&stream, Some((TOKEN, token.to_owned()))).await.expect("the stream opens");
    loop {
        let frame = socket.frame().await.expect("no close");
        let part = frame.as_array().expect("an array").iter().find(|e| e["type"] == "message_part");
        if let Some(part) = part.map(|e| &e["message_part"]) {
            let number = |key: &str| part[key].as_i64().expect("a number");
            return (number("history_version"), number("generation_attempt"));
        }
    }
}

both! {
    async fn an_episode_is_selected_and_selected_again(h: Harness) {
        let (first, second) = (Gate::new(), Gate::new());
        h.model.push([says_in(pieces(0, 5)).gate(&first).says_in(pieces(5, 9)).gate(&second)]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = api.create_chat("Count.").await["id"].as_str().unwrap().to_owned();
        let mut stream = api.stream(&chat, None).await;
        first.reached().await;
        let (history, attempt) = episode(&api, &chat, &daemon.token()).await;

        let mut socket = Socket::open(&url(&api, &chat), Some((TOKEN, daemon.token()))).await.unwrap();
        socket.select(history + 100, 1).await;
        socket.is_silent().await;
        socket.select(history, attempt).await;
        assert_eq!(socket.parts(1, 5).await, pieces(0, 5).concat());
        first.open();
        assert_eq!(socket.parts(6, 4).await, pieces(5, 9).concat());
        socket.select(history, attempt).await;
        assert_eq!(socket.parts(1, 9).await, pieces(0, 9).concat());
        second.open();
        stream.settled().await;
        // The end of the episode is silence; a late selection still finds it.
        socket.is_silent().await;
        socket.select(history, attempt).await;
        assert_eq!(socket.parts(1, 9).await, pieces(0, 9).concat());
        socket.say("{\"history_version\":1}".to_owned()).await;
        assert_eq!(socket.frame().await, Err(1008));
    }

    async fn only_those_who_may_read_the_chat_get_in(h: Harness) {
        let daemon = h.daemon().await;
        h.model.push([says_in(["Hi"])]);
        let api = daemon.api();
        let chat = api.create_chat("Hello").await["id"].as_str().unwrap().to_owned();
        api.stream(&chat, None).await.settled().await;
        let bearer = |token: &str| Some(("Authorization", format!("Bearer {token}")));
        let nobody = "00000000-0000-4000-8000-000000000000";
        let refused = |url: String, header| async move { Socket::open(&url, header).await.err() };
        let wrong = format!("replica-{}", "0".repeat(64));
        assert_eq!(refused(url(&api, &chat), None).await, Some(401));
        assert_eq!(refused(url(&api, &chat), bearer("nonsense")).await, Some(401));
        assert_eq!(refused(url(&api, &chat), bearer(&wrong)).await, Some(401));
        assert_eq!(refused(url(&api, &chat), bearer("replica-")).await, Some(401));
        assert_eq!(refused(url(&api, &chat), bearer(&daemon.token())).await, None);
        assert_eq!(refused(url(&api, nobody), bearer(&daemon.token())).await, Some(404));
        assert_eq!(refused(url(&api, "x"), bearer(&daemon.token())).await, Some(400));
        if h.engine == Engine::Postgres {
            let secret = &ask(&h, "SELECT value FROM deployment WHERE key = 'replica_secret'").await[0];
            let replica = format!("replica-{secret}");
            assert_eq!(secret.len(), 64);
            assert_eq!(refused(url(&api, &chat), bearer(&replica)).await, None);
            assert_eq!(refused(url(&api, nobody), bearer(&replica)).await, Some(404));
            // It opens nothing else.
            assert_eq!(refused(api.url(&format!("/chats/{chat}/stream")), bearer(&replica)).await, Some(401));
            assert!(!h.log.tail().contains(secret.as_str()), "the secret was logged");
        }
    }
}
