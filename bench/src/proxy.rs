//! The floor: a WebSocket in front of a model, of the parts chatd is made of, that stores nothing.
//!
//! A text frame is a user's message; each delta of the answer goes back as one text frame, and a frame
//! [`END`] says that the turn is over. What one read brings goes out in one write: a floor that made
//! more system calls than it must would flatter whoever is compared with it.

use crate::Result;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Client;
use serde::Deserialize;
use std::borrow::Cow;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    accept_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// The frame after the last delta of a turn.
pub const END: &str = ".";

/// Bytes of a socket's read buffer: people write short messages.
const READ_BUFFER: usize = 4096;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Delta<'a>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
}

/// Serves for ever; says where on stdout.
pub async fn serve(model: &str) -> Result<()> {
    drop(rustls::crypto::ring::default_provider().install_default());
    // As chatd's client (src/llm/transport.rs).
    let client = Client::builder().tcp_nodelay(true).redirect(reqwest::redirect::Policy::none()).build()?;
    let url = format!("{model}/v1/chat/completions");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move {
            if let Err(e) = connection(stream, &client, &url).await {
                eprintln!("proxy: {e}");
            }
        });
    }
}

async fn connection(stream: TcpStream, client: &Client, url: &str) -> Result<()> {
    stream.set_nodelay(true)?;
    // The default of 128 KiB a socket would make its memory the larger one for nothing.
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let body = serde_json::json!({
            "model": "mock",
            "stream": true,
            "stream_options": { "include_usage": true },
            "messages": [{ "role": "user", "content": text.as_str() }],
        });
        let request = client.post(url).header("content-type", "application/json").body(body.to_string());
        let mut response = request.send().await?.error_for_status()?;
        let mut buffer: Vec<u8> = Vec::new();
        while let Some(bytes) = response.chunk().await? {
            buffer.extend_from_slice(&bytes);
            let mut from = 0;
            while let Some(at) = buffer[from..].windows(2).position(|w| w == b"\n\n") {
                let event = &buffer[from..from + at];
                from += at + 2;
                let Some(data) = event.strip_prefix(b"data: ") else { continue };
                if data == b"[DONE]" {
                    continue;
                }
                let chunk: Chunk<'_> = serde_json::from_slice(data)?;
                let content = chunk.choices.into_iter().next().and_then(|choice| choice.delta.content);
                if let Some(content) = content.filter(|content| !content.is_empty()) {
                    socket.feed(Message::text(content.into_owned())).await?;
                }
            }
            buffer.drain(..from);
            socket.flush().await?;
        }
        socket.send(Message::text(END)).await?;
    }
    Ok(())
}
