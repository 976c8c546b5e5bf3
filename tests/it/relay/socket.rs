//! A bare WebSocket client that says who it is in any header.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Opens `http://…`; the status of the refusal otherwise.
    pub async fn open(url: &str, header: Option<(&'static str, String)>) -> Result<Self, u16> {
        let mut request = url.replacen("http", "ws", 1).into_client_request().expect("a WebSocket URL");
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().expect("plain text"));
        }
        match tokio::time::timeout(PATIENCE, tokio_tungstenite::connect_async(request)).await {
            Ok(Ok((socket, _))) => Ok(Self(socket)),
            Ok(Err(Error::Http(response))) => Err(response.status().as_u16()),
            other => panic!("{url}: {other:?}"),
        }
    }

    pub async fn say(&mut self, text: String) {
        self.0.send(Message::text(text)).await.expect("send a frame");
    }

    pub async fn select(&mut self, history_version: i64, generation_attempt: i64) {
        let frame = json!({ "history_version": history_version, "generation_attempt": generation_attempt });
        self.say(frame.to_string()).await;
    }

    /// The next frame, or the close code.
    pub async fn frame(&mut self) -> Result<Value, u16> {
        let next = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                    Some(Ok(Message::Close(Some(frame)))) => return Err(frame.code.into()),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("not a text frame: {other:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("a frame within the patience of a test")
    }

    /// The next so many parts; each comes in a frame of its own, counted from `first`.
    pub async fn parts(&mut self, first: i64, count: usize) -> String {
        let mut text = String::new();
        for seq in first.. {
            if usize::try_from(seq - first).expect("counts up") == count {
                break;
            }
            let frame = self.frame().await.expect("no close");
            let events = frame.as_array().expect("an array");
            assert_eq!(events.len(), 1, "{frame}");
            assert_eq!(events[0]["type"], "message_part", "{frame}");
            assert_eq!(events[0]["message_part"]["seq"], seq, "{frame}");
            text.push_str(events[0]["message_part"]["part"]["text"].as_str().expect("text"));
        }
        text
    }

    /// Nothing has come that is not a ping: the answer to our ping is the next frame.
    pub async fn is_silent(&mut self) {
        self.0.send(Message::Ping("still?".into())).await.expect("send a ping");
        let answer = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Ping(_))) => {}
                    Some(Ok(Message::Pong(bytes))) => return assert_eq!(&bytes[..], b"still?"),
                    other => panic!("not silent: {other:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer to a ping");
    }
}
