//! A WebSocket as a pipe of bytes: each binary message is the next piece.

use bytes::BytesMut;
use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message},
};

/// How often the other end is asked whether it is there.
const PING: Duration = Duration::from_secs(5);
/// An end that has said nothing for so long, not even pong, is gone: three pings. A half-open link is
/// found within 20 s.
const SILENCE: Duration = Duration::from_secs(16);
/// Time for a message to be taken by the socket.
const WRITE_TIMEOUT: Duration = Duration::from_secs(16);
/// Bytes of a message.
const CHUNK: usize = 64 << 10;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The daemon closed it.
    #[error("the daemon closed the link{0}")]
    Closed(String),
    /// Nothing came for [`SILENCE`].
    #[error("the daemon does not answer any more")]
    Silent,
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] tungstenite::Error),
    /// The other side of the pipe ended.
    #[error("the connection inside of the link ended")]
    Inner,
}

/// Carries bytes both ways until one side ends.
pub async fn join<S>(socket: WebSocketStream<S>, io: tokio::io::DuplexStream) -> Lost
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut messages) = socket.split();
    let (mut from, mut into) = tokio::io::split(io);
    let outwards = async {
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = BytesMut::with_capacity(CHUNK);
        loop {
            let message = tokio::select! {
                read = from.read_buf(&mut buffer) => match read {
                    Ok(0) | Err(_) => return Lost::Inner,
                    Ok(_) => Message::Binary(buffer.split().freeze()),
                },
                _ = ping.tick() => Message::Ping(bytes::Bytes::new()),
            };
            buffer.reserve(CHUNK);
            match timeout(WRITE_TIMEOUT, sink.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return Lost::Silent,
            }
        }
    };
    let inwards = async {
        let mut heard = Instant::now();
        loop {
            let message = match tokio::time::timeout_at(heard + SILENCE, messages.next()).await {
                Err(_) => return Lost::Silent,
                Ok(None) => return Lost::Closed(String::new()),
                Ok(Some(Err(error))) => return error.into(),
                Ok(Some(Ok(message))) => message,
            };
            match message {
                Message::Binary(bytes) => match into.write_all(&bytes).await {
                    Ok(()) => {}
                    Err(_) => return Lost::Inner,
                },
                Message::Close(frame) => {
                    let why = frame.map(|f| f.reason.to_string()).filter(|reason| !reason.is_empty());
                    return Lost::Closed(why.map(|reason| format!(": {reason}")).unwrap_or_default());
                }
                // Pings are answered by the library.
                _ => {}
            }
            heard = Instant::now();
        }
    };
    tokio::select! {
        lost = outwards => lost,
        lost = inwards => lost,
    }
}
