//! A pipe between the messages of a WebSocket and whoever reads and writes bytes. It holds one piece each way, and nothing
//! while it is idle: a thousand links that nobody uses cost no buffers.

use bytes::{Buf as _, Bytes, BytesMut};
use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes of a piece that is written: a frame of HTTP/2 with its head.
pub const PIECE: usize = (16 << 10) + 64;

#[derive(Default)]
struct Slot {
    piece: Option<Bytes>,
    over: bool,
    /// Whoever waits for a piece.
    taker: Option<Waker>,
    /// Whoever waits for room.
    giver: Option<Waker>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Slot>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let (taker, giver) = {
            let mut slot = self.lock();
            slot.over = true;
            (slot.taker.take(), slot.giver.take())
        };
        taker.into_iter().chain(giver).for_each(Waker::wake);
    }
}

/// Where pieces come out. To drop it ends this direction.
pub struct Outlet(Shared);

impl Outlet {
    fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut slot = self.0.lock();
        let Some(piece) = slot.piece.take() else {
            if slot.over {
                return Poll::Ready(None);
            }
            slot.taker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let giver = slot.giver.take();
        drop(slot);
        giver.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(piece))
    }

    /// The next piece; `None` when there is no other end any more.
    pub async fn next(&self) -> Option<Bytes> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Where pieces go in. To drop it ends this direction, behind the piece that is on its way.
pub struct Inlet(Shared);

impl Inlet {
    /// Puts in what `piece` returns, as soon as there is room; false when nobody takes it any more.
    fn poll_give(&self, cx: &Context<'_>, piece: impl FnOnce() -> Bytes) -> Poll<bool> {
        let mut slot = self.0.lock();
        if slot.over {
            return Poll::Ready(false);
        }
        if slot.piece.is_some() {
            slot.giver = Some(cx.waker().clone());
            return Poll::Pending;
        }
        slot.piece = Some(piece());
        let taker = slot.taker.take();
        drop(slot);
        taker.into_iter().for_each(Waker::wake);
        Poll::Ready(true)
    }

    /// Puts a piece in, as soon as there is room; false when nobody takes it any more.
    pub async fn give(&self, piece: Bytes) -> bool {
        poll_fn(|cx| self.poll_give(cx, || piece.clone())).await
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The end of a pipe that is read and written as bytes.
pub struct Bytewise {
    from: Outlet,
    /// What of the last piece was not read yet.
    rest: Bytes,
    into: Inlet,
}

/// A pipe: its end for bytes, and the two of its end for pieces.
#[must_use]
pub fn pipe() -> (Bytewise, Outlet, Inlet) {
    let (outwards, inwards) = (Shared::default(), Shared::default());
    let near = Bytewise { from: Outlet(inwards.clone()), rest: Bytes::new(), into: Inlet(outwards.clone()) };
    (near, Outlet(outwards), Inlet(inwards))
}

impl AsyncRead for Bytewise {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.from.poll_next(cx)) {
                Some(piece) => self.rest = piece,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        if self.rest.is_empty() {
            // An empty part would keep its whole message alive.
            self.rest = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bytewise {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(PIECE);
        if size == 0 {
            return Poll::Ready(Ok(0));
        }
        let piece = || {
            let mut piece = BytesMut::with_capacity(size);
            for buf in bufs {
                let count = buf.len().min(size - piece.len());
                piece.extend_from_slice(&buf[..count]);
            }
            piece.freeze()
        };
        match ready!(self.into.poll_give(cx, piece)) {
            true => Poll::Ready(Ok(size)),
            false => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.into.0.end();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn bytes_pass_both_ways_a_piece_at_a_time() {
        let (mut near, from, into) = pipe();
        let sent: Vec<u8> = (0..=255_u8).cycle().take(100_000).collect();
        let written = async {
            near.write_all(&sent).await.unwrap();
            let mut read = vec![0; 5];
            near.read_exact(&mut read).await.unwrap();
            near.shutdown().await.unwrap();
            (read, near)
        };
        let given = async {
            for piece in [b"ab".as_slice(), b"", b"cdef"] {
                assert!(into.give(Bytes::from_static(piece)).await);
            }
        };
        let carried = async {
            let mut all = Vec::new();
            while let Some(piece) = from.next().await {
                assert!((1..=PIECE).contains(&piece.len()));
                all.extend_from_slice(&piece);
            }
            all
        };
        let ((read, mut near), (), all) = tokio::join!(written, given, carried);
        assert!(read == b"abcde" && all == sent);
        // What is on its way still arrives when the other end goes.
        assert!(into.give(Bytes::from_static(b"g")).await);
        drop(into);
        let mut rest = String::new();
        near.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "fg");
    }

    #[tokio::test]
    async fn a_full_pipe_waits_and_one_without_another_end_fails() {
        let (mut near, from, into) = pipe();
        let mut bufs = [IoSlice::new(b"head"), IoSlice::new(b"body")];
        assert_eq!(near.write_vectored(&bufs).await.unwrap(), 8);
        assert!(near.write(b"more").now_or_never().is_none());
        assert_eq!(from.next().await.as_deref(), Some(b"headbody".as_slice()));
        bufs.reverse();
        drop(from);
        assert_eq!(near.write_vectored(&bufs).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        drop(near);
        assert!(!into.give(Bytes::from_static(b"x")).await);
    }
}
