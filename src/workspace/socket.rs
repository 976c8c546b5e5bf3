//! The WebSocket between the daemon and an agent, as the bytes that HTTP/2 reads and writes: binary messages hold them, in
//! any split. Each end asks the other every now and then whether it is there.
//!
//! Nothing lies between HTTP/2 and the WebSocket, no task and no buffer: to wake a task that nobody has asked for a while
//! costs more than what it does (bench/README.md), and most links are idle.

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Interval, MissedTickBehavior, Sleep, interval, sleep},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

/// How often the other end is asked whether it is there.
const PING: Duration = Duration::from_secs(5);
/// An end that has said nothing for so long, not even pong, is gone: three pings. A half-open link is found within 20 s.
const SILENCE: Duration = Duration::from_secs(16);
/// How long the socket may take nothing of what is written.
const STALL: Duration = Duration::from_secs(16);
/// Largest message that is taken. Both ends write smaller ones; older agents wrote 64 KiB.
const MAX_MESSAGE: usize = 1 << 20;
/// Most bytes of a message that is written: some frames of HTTP/2.
const PIECE: usize = 64 << 10;
/// Most bytes that wait for a socket that takes nothing: a message, and the answers to pings. One more of these replaces the
/// last that waits, so that an end which asks and never reads costs no more.
const MAX_WAITING: usize = 2 * PIECE;
/// Bytes read at once. The library clears as many before each read, so the 128 KiB that it takes by itself cost more than all
/// else of a short message.
const READ: usize = 8 << 10;
/// Most bytes that an end may say before it was asked: the settings with which HTTP/2 begins are less than a hundred.
const EARLY: usize = 4 << 10;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The other end closed it, for a reason if it gave one.
    #[error("the other end closed the link{0}")]
    Closed(String),
    /// Nothing came for [`SILENCE`], or nothing could be sent for [`STALL`].
    #[error("the other end does not answer any more")]
    Silent,
    /// A message is no part of an HTTP/2 connection.
    #[error("the other end sent text, where only binary messages are taken")]
    Text,
    /// More than [`EARLY`] bytes came before anything was asked.
    #[error("the other end spoke without being asked")]
    Unasked,
    /// The socket failed, or what came out of it is no WebSocket.
    #[error("{0}")]
    Socket(#[from] tungstenite::Error),
    /// The HTTP/2 in it failed or came to its end.
    #[error("the connection inside of the link ended")]
    Inner,
}

struct Inner<S> {
    web: WebSocketStream<S>,
    /// What came and was not read yet.
    rest: Bytes,
    /// Messages and bytes that came before anything was asked.
    early: usize,
    ping: Interval,
    heard: Instant,
    /// Ends not before the other one has been silent for too long.
    silence: Pin<Box<Sleep>>,
    /// Since when the socket takes nothing of what it was given.
    stalled: Option<Instant>,
    unflushed: bool,
    lost: Option<Lost>,
}

/// The bytes of a WebSocket. Clones are the same.
pub struct Socket<S>(Arc<Mutex<Inner<S>>>);

impl<S> Clone for Socket<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// After the handshake.
    pub async fn new(stream: S, role: Role) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ)
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_WAITING)
            .max_frame_size(Some(MAX_MESSAGE))
            .max_message_size(Some(MAX_MESSAGE));
        let web = WebSocketStream::from_raw_socket(stream, role, Some(config)).await;
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(Arc::new(Mutex::new(Inner {
            web,
            rest: Bytes::new(),
            early: 0,
            ping,
            heard: Instant::now(),
            silence: Box::pin(sleep(SILENCE)),
            stalled: None,
            unflushed: false,
            lost: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the link alive until it is lost. Little is taken: nobody has asked anything yet.
    pub async fn idle(&self) -> Lost {
        poll_fn(|cx| {
            let mut inner = self.lock();
            loop {
                match ready!(inner.poll_message(cx)) {
                    Err(lost) => return Poll::Ready(lost),
                    Ok(bytes) => {
                        // An empty message counts as well: it says nothing, again and again.
                        inner.early += bytes.len().max(1);
                        if inner.early > EARLY {
                            return Poll::Ready(Lost::Unasked);
                        }
                        inner.rest = [&inner.rest[..], &bytes].concat().into();
                    }
                }
            }
        })
        .await
    }

    /// Why it was lost, for whom the HTTP/2 in it has ended.
    #[must_use]
    pub fn lost(&self) -> Lost {
        self.lock().lost.take().unwrap_or(Lost::Inner)
    }

    /// Tells the other end why the link ends. How long that may take is the caller's to say.
    ///
    /// # Errors
    /// When it cannot be told.
    pub async fn close(&self, code: u16, reason: &'static str) -> Result<(), tungstenite::Error> {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        let mut frame = Some(Message::Close(Some(frame)));
        poll_fn(|cx| {
            let inner = &mut *self.lock();
            ready!(inner.poll_flush(cx))?;
            if let Some(frame) = frame.take() {
                inner.web.start_send_unpin(frame)?;
            }
            inner.poll_flush(cx)
        })
        .await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inner<S> {
    /// The next bytes.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Lost>> {
        loop {
            let Poll::Ready(message) = self.web.poll_next_unpin(cx) else {
                self.keep(cx)?;
                return Poll::Pending;
            };
            let Some(message) = message.transpose()? else {
                return Poll::Ready(Err(Lost::Closed(String::new())));
            };
            self.heard = Instant::now();
            match message {
                Message::Binary(bytes) => return Poll::Ready(Ok(bytes)),
                Message::Text(_) => return Poll::Ready(Err(Lost::Text)),
                Message::Close(frame) => {
                    let why = frame.map(|f| f.reason.to_string()).filter(|reason| !reason.is_empty());
                    let why = why.map(|reason| format!(": {reason}")).unwrap_or_default();
                    return Poll::Ready(Err(Lost::Closed(why)));
                }
                // The library answers pings.
                _ => {}
            }
        }
    }

    /// Asks whether the other end is there.
    fn keep(&mut self, cx: &mut Context<'_>) -> Result<(), Lost> {
        while self.ping.poll_tick(cx).is_ready() {
            if self.stalled.is_some_and(|since| since.elapsed() >= STALL) {
                return Err(Lost::Silent);
            }
            // Where nothing gets through there is no use in asking.
            if let Poll::Ready(flushed) = self.poll_flush(cx) {
                flushed?;
                self.web.start_send_unpin(Message::Ping(Bytes::new()))?;
                self.unflushed = true;
            }
        }
        if self.unflushed
            && let Poll::Ready(flushed) = self.poll_flush(cx)
        {
            flushed?;
        }
        while self.silence.as_mut().poll(cx).is_ready() {
            let until = self.heard + SILENCE;
            if until <= Instant::now() {
                return Err(Lost::Silent);
            }
            self.silence.as_mut().reset(until);
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
        let flushed = self.web.poll_flush_unpin(cx)?;
        self.unflushed = flushed.is_pending();
        self.stalled = match flushed {
            Poll::Ready(()) => None,
            Poll::Pending => self.stalled.or_else(|| Some(Instant::now())),
        };
        flushed.map(Ok)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<Result<usize, Lost>> {
        let size = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(PIECE);
        if size == 0 {
            return Poll::Ready(Ok(0));
        }
        // Whatever waits goes first: there is room for a message only when nothing does.
        if self.poll_flush(cx)?.is_pending() {
            self.keep(cx)?;
            return Poll::Pending;
        }
        let mut piece = BytesMut::with_capacity(size);
        for buf in bufs {
            let count = buf.len().min(size - piece.len());
            piece.extend_from_slice(&buf[..count]);
        }
        self.web.start_send_unpin(Message::Binary(piece.freeze()))?;
        self.unflushed = true;
        Poll::Ready(Ok(size))
    }

    /// Remembers why the link is lost: HTTP/2 keeps no more of an error than its text.
    fn lose(&mut self, lost: Lost) -> io::Error {
        let error = io::Error::new(io::ErrorKind::ConnectionReset, lost.to_string());
        self.lost.get_or_insert(lost);
        error
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        while inner.rest.is_empty() {
            match ready!(inner.poll_message(cx)) {
                Ok(bytes) => inner.rest = bytes,
                Err(lost) => return Poll::Ready(Err(inner.lose(lost))),
            }
        }
        let count = inner.rest.len().min(buf.remaining());
        buf.put_slice(&inner.rest[..count]);
        inner.rest.advance(count);
        if inner.rest.is_empty() {
            // An empty part would keep its whole message alive.
            inner.rest = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        let written = ready!(inner.poll_write(cx, bufs));
        Poll::Ready(written.map_err(|lost| inner.lose(lost)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        let flushed = match inner.poll_flush(cx) {
            Poll::Pending => match inner.keep(cx) {
                Ok(()) => return Poll::Pending,
                Err(lost) => Err(lost),
            },
            Poll::Ready(flushed) => flushed.map_err(Lost::from),
        };
        Poll::Ready(flushed.map_err(|lost| inner.lose(lost)))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever holds the link closes it, with a reason.
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    /// Both ends over a pipe of so many bytes.
    async fn ends(size: usize) -> (Socket<DuplexStream>, Socket<DuplexStream>) {
        let (near, far) = tokio::io::duplex(size);
        (Socket::new(near, Role::Client).await, Socket::new(far, Role::Server).await)
    }

    /// An end, and the WebSocket of another one that does as it likes.
    async fn beside_a_stranger() -> (Socket<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let stranger = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        (Socket::new(near, Role::Server).await, stranger)
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_in_any_split() {
        let sent: Vec<u8> = (0..=250_u8).cycle().take(700_000).collect();
        for size in [100, 10_000, 1 << 20] {
            let (mut near, mut far) = ends(size).await;
            let writing = async {
                near.write_all(&sent[..1000]).await.unwrap();
                let mut bufs = [IoSlice::new(&sent[1000..1009]), IoSlice::new(&sent[1009..200_000])];
                let mut left = &mut bufs[..];
                while !left.is_empty() {
                    let count = near.write_vectored(left).await.unwrap();
                    IoSlice::advance_slices(&mut left, count);
                }
                near.write_all(&sent[200_000..]).await.unwrap();
                near.flush().await.unwrap();
                let mut answer = [0; 5];
                near.read_exact(&mut answer).await.unwrap();
                answer
            };
            let reading = async {
                let mut all = vec![0; sent.len()];
                far.read_exact(&mut all).await.unwrap();
                far.write_all(b"taken").await.unwrap();
                far.flush().await.unwrap();
                all
            };
            let (answer, all) = tokio::join!(writing, reading);
            assert!(&answer == b"taken" && all == sent, "through {size} bytes");
        }
    }

    #[tokio::test]
    async fn an_end_that_reads_nothing_is_not_written_to_for_ever() {
        let (mut near, _far) = ends(1000).await;
        let piece = vec![7; PIECE];
        let mut taken = 0;
        while let Some(count) = near.write(&piece).now_or_never() {
            taken += count.unwrap();
            assert!(taken <= 2 * PIECE, "it takes more and more");
        }
        assert!(near.flush().now_or_never().is_none());
    }

    #[tokio::test]
    async fn what_is_said_before_anything_is_asked_is_kept_if_it_is_little() {
        let (mut near, mut far) = ends(1 << 20).await;
        for word in [b"set".as_slice(), b"tings"] {
            far.write_all(word).await.unwrap();
            far.flush().await.unwrap();
        }
        assert!(near.idle().now_or_never().is_none());
        let mut settings = [0; 8];
        near.read_exact(&mut settings).await.unwrap();
        assert_eq!(&settings, b"settings");
        far.write_all(&vec![0; EARLY + 1]).await.unwrap();
        assert!(matches!(near.idle().await, Lost::Unasked));
    }

    #[tokio::test]
    async fn it_is_told_why_a_link_is_lost() {
        let (mut near, far) = ends(1 << 20).await;
        far.close(4001, "another one").await.unwrap();
        let error = near.read_u8().await.unwrap_err();
        assert_eq!(error.to_string(), "the other end closed the link: another one");
        assert!(matches!(near.lost(), Lost::Closed(why) if why == ": another one"));

        let (near, mut stranger) = beside_a_stranger().await;
        stranger.send(Message::text("hello")).await.unwrap();
        assert!(matches!(near.idle().await, Lost::Text));

        let (near, mut stranger) = beside_a_stranger().await;
        stranger.send(Message::binary(vec![0; MAX_MESSAGE + 1])).now_or_never();
        assert!(matches!(near.idle().await, Lost::Socket(tungstenite::Error::Capacity(_))));

        let (near, stranger) = beside_a_stranger().await;
        drop(stranger);
        assert!(matches!(near.idle().await, Lost::Socket(_)));
    }

    #[tokio::test]
    async fn an_end_that_asks_and_never_reads_costs_little() {
        let (near, far) = tokio::io::duplex(1000);
        let near = Socket::new(near, Role::Server).await;
        let mut stranger = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        let asking = async {
            for _ in 0..5000 {
                stranger.send(Message::Ping(vec![0; 125].into())).await.unwrap();
            }
        };
        tokio::select! {
            lost = near.idle() => panic!("{lost}"),
            () = asking => {}
        }
        let reading = async {
            let mut answers = 0;
            loop {
                match stranger.next().await.unwrap().unwrap() {
                    Message::Pong(bytes) => answers += bytes.len(),
                    Message::Close(_) => return answers,
                    _ => {}
                }
            }
        };
        let (told, answers) = tokio::join!(near.close(1000, ""), reading);
        told.unwrap();
        assert!((1..=MAX_WAITING).contains(&answers), "{answers} bytes of answers have waited");
    }

    #[tokio::test]
    async fn an_end_that_says_nothing_again_and_again_is_told_to_wait_until_it_is_asked() {
        let (near, mut stranger) = beside_a_stranger().await;
        let saying = async {
            while stranger.send(Message::binary(Bytes::new())).await.is_ok() {}
            std::future::pending::<()>().await;
        };
        tokio::select! {
            lost = near.idle() => assert!(matches!(lost, Lost::Unasked)),
            () = saying => {}
        }
    }
}
