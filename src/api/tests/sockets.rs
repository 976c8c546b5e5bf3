//! Stream and watch over real sockets.

use super::support::{Asked, Engine, World, on_both, world, world_with};
use crate::{
    actors::subscription::{CloseReason, Outgoing},
    api::{ApiSettings, serve},
    bus::Notice,
    chat::{command::Command, state::State},
    store::records::{DiffRecord, DiffReference},
};
use actix_web::dev::ServerHandle;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

on_both![
    a_stream_forwards_frames_and_says_why_it_ends,
    the_owner_reads_and_others_do_not,
    sockets_close_when_the_replica_stops_or_the_right_is_gone,
    the_sidebar_shows_what_happens,
    a_socket_that_answers_no_ping_is_closed,
];

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Listening {
    address: SocketAddr,
    handle: ServerHandle,
}

fn listen(world: &World) -> Listening {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (server, handle) = serve(world.state.clone(), listener, 1, Duration::from_secs(1)).unwrap();
    actix_web::rt::spawn(server);
    Listening { address, handle }
}

impl Listening {
    async fn open(&self, token: &str, path: &str) -> Result<Client, u16> {
        let url = format!("ws://{}/api/experimental/chats{path}", self.address);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("Coder-Session-Token", token.parse().unwrap());
        match connect_async(request).await {
            Ok((client, _)) => Ok(client),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(e) => panic!("{e}"),
        }
    }
}

/// The sending end of the newest subscription.
fn newest(world: &World) -> Asked {
    world.streams.0.lock().unwrap().pop().unwrap()
}

async fn text(client: &mut Client) -> String {
    loop {
        match client.next().await.unwrap().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn closed(client: &mut Client) -> u16 {
    loop {
        match client.next().await.unwrap().unwrap() {
            Message::Close(frame) => return frame.unwrap().code.into(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn a_stream_forwards_frames_and_says_why_it_ends(on: Engine) {
    let world = world(on).await;
    let server = listen(&world);
    let chat = world.chat_in(State::W).await;
    let path = format!("/{chat}/stream");
    assert_eq!(server.open("", &path).await.err(), Some(401));
    assert_eq!(server.open(&world.stranger, &path).await.err(), Some(404));
    assert_eq!(server.open(&world.owner, &format!("{path}?after_id=-1")).await.err(), Some(400));
    assert_eq!(server.open(&world.owner, &format!("{path}?after_id=x")).await.err(), Some(400));
    assert!(world.streams.0.lock().unwrap().is_empty(), "checks come first");
    let plain = world.own("GET", &path, Value::Null).await;
    assert_eq!(plain.status, 400, "{plain:?}");

    let mut client = server.open(&world.owner, &format!("{path}?after_id=7")).await.unwrap();
    let (of, after, sender) = newest(&world);
    assert_eq!((of, after), (chat, Some(7)));
    for frame in ["[1]", "[2]"] {
        sender.send(Outgoing::Frame(frame.into())).await.unwrap();
    }
    assert_eq!((text(&mut client).await, text(&mut client).await), ("[1]".into(), "[2]".into()));
    sender.send(Outgoing::Close(CloseReason::Lagging)).await.unwrap();
    assert_eq!(closed(&mut client).await, 1013);

    let mut client = server.open(&world.owner, &path).await.unwrap();
    let (_, _, sender) = newest(&world);
    client.send(Message::text("hello")).await.unwrap();
    assert_eq!(closed(&mut client).await, 1008);
    sender.closed().await; // the subscription was given up

    let mut client = server.open(&world.owner, &path).await.unwrap();
    drop(newest(&world));
    failed(&mut client, &chat.to_string()).await;

    let mut client = server.open(&world.owner, &path).await.unwrap();
    let (_, _, sender) = newest(&world);
    sender.send(Outgoing::Close(CloseReason::Unavailable)).await.unwrap();
    failed(&mut client, &chat.to_string()).await;
    server.handle.stop(false).await;
}

/// One `error` event, then the close (api.md §4.4).
async fn failed(client: &mut Client, chat: &str) {
    let events: Value = serde_json::from_str(&text(client).await).unwrap();
    assert_eq!(events.as_array().map(Vec::len), Some(1), "{events}");
    let event = &events[0];
    assert_eq!((&event["type"], &event["chat_id"]), (&json!("error"), &json!(chat)));
    assert!(event["error"]["message"].is_string() && event["error"]["retryable"] == true, "{event}");
    assert_eq!(closed(client).await, 1011);
}

async fn the_owner_reads_and_others_do_not(on: Engine) {
    let world = world(on).await;
    let server = listen(&world);
    let chat = world.chat_in(State::W).await;
    let unread = async || world.own("GET", "", Value::Null).await.body[0]["has_unread"].clone();
    assert_eq!(unread().await, true);
    for (token, expected) in [(&world.admin, true), (&world.owner, false)] {
        let mut client = server.open(token, &format!("/{chat}/stream")).await.unwrap();
        let (_, _, sender) = newest(&world);
        // A frame that arrives was sent after the cursor moved.
        sender.send(Outgoing::Frame("[]".into())).await.unwrap();
        text(&mut client).await;
        assert_eq!(unread().await, expected);
    }
    server.handle.stop(false).await;
}

async fn sockets_close_when_the_replica_stops_or_the_right_is_gone(on: Engine) {
    let world = world(on).await;
    let server = listen(&world);
    let chat = world.chat().await;
    let mut mine = server.open(&world.owner, &format!("/{chat}/stream")).await.unwrap();
    let mut sidebar = server.open(&world.admin, "/watch").await.unwrap();
    world.state.store.set_suspended(world.owner_id, true, super::support::NOW).await.unwrap();
    world.state.store.bus().publish(Notice::Access { user: world.owner_id });
    assert_eq!(closed(&mut mine).await, 1008);
    world.draining.send(true).unwrap();
    assert_eq!(closed(&mut sidebar).await, 1001);
    assert_eq!(server.open(&world.admin, "/watch").await.err(), Some(503));
    server.handle.stop(false).await;
}

async fn the_sidebar_shows_what_happens(on: Engine) {
    let world = world(on).await;
    let server = listen(&world);
    let mut client = server.open(&world.owner, "/watch").await.unwrap();
    let mut other = server.open(&world.stranger, "/watch").await.unwrap();
    let chat = world.chat_in(State::A0).await;
    let next = async |client: &mut Client| serde_json::from_str::<Value>(&text(client).await).unwrap();
    let event = next(&mut client).await;
    assert_eq!((&event["kind"], &event["chat"]["id"]), (&json!("created"), &json!(chat)));
    assert_eq!(event["chat"]["children"], json!([]));
    assert!(event["chat"].get("files").is_none() && event.get("tool_calls").is_none());
    let event = next(&mut client).await;
    assert_eq!(
        (&event["kind"], &event["chat"]["status"]),
        (&json!("status_change"), &json!("requires_action"))
    );
    let event = next(&mut client).await;
    assert_eq!(event["kind"], "action_required");
    let calls = json!([{"tool_call_id": "call_1", "tool_name": "client", "args": "{\"x\":1}"}]);
    assert_eq!(event["tool_calls"], calls);
    world.commit(chat, Command::Interrupt { reason: "r".into() }).await;
    assert_eq!(next(&mut client).await["kind"], "status_change");
    world.own("PATCH", &format!("/{chat}"), json!({"title": "new"})).await;
    let event = next(&mut client).await;
    assert_eq!((&event["kind"], &event["chat"]["title"]), (&json!("title_change"), &json!("new")));
    let diff = DiffRecord { additions: 3, pull_request_state: Some("open".into()), ..DiffRecord::default() };
    let store = &world.state.store;
    store.set_diff_status(world.owner_id, chat, diff, DiffReference::default()).await.unwrap();
    let event = next(&mut client).await;
    assert_eq!((&event["kind"], &event["chat"]["title"]), (&json!("diff_status_change"), &json!("new")));
    let status = &event["chat"]["diff_status"];
    assert_eq!((&status["chat_id"], &status["additions"]), (&json!(chat), &json!(3)), "{event}");
    assert_eq!((&status["pull_request_state"], &status["pull_request_title"]), (&json!("open"), &json!("")));
    world.commit(chat, Command::FinishTurn).await;
    let event = next(&mut client).await;
    assert_eq!(event["kind"], "status_change");
    assert!(event["chat"].get("diff_status").is_none(), "{event}");
    world.own("PATCH", &format!("/{chat}"), json!({"archived": true})).await;
    assert_eq!(next(&mut client).await["kind"], "deleted");
    // Nothing of it was for anybody else: the next frame there is the end.
    world.state.store.bus().publish(Notice::Resync);
    assert_eq!(closed(&mut other).await, 1001);
    assert_eq!(closed(&mut client).await, 1001);
    server.handle.stop(false).await;
}

async fn a_socket_that_answers_no_ping_is_closed(on: Engine) {
    let settings = ApiSettings { ping_interval: Duration::from_millis(30), ..ApiSettings::default() };
    let world = world_with(on, settings).await;
    let server = listen(&world);
    let chat = world.chat().await;
    // A client of our own, as every other one answers pings by itself.
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let handshake = format!(
        "GET /api/v2/chats/{chat}/stream HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCoder-Session-Token: {}\r\n\r\n",
        world.owner
    );
    socket.write_all(handshake.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    socket.read_to_end(&mut received).await.unwrap();
    let head = received.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let frames = &received[head..];
    // An empty ping, then a close frame with 1001 and the reason.
    let mut expected = vec![0x89, 0, 0x88, 13, 0x03, 0xe9];
    expected.extend(b"Ping failed");
    assert_eq!(frames, expected);
    server.handle.stop(false).await;
}
