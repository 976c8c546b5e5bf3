//! The bytes of a connection whose protocol was changed by its request, both ways: those of actix-web's payload, and a body
//! of the answer that ends with the connection.

use actix_web::{
    body::{BodySize, MessageBody},
    web,
};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use std::{
    cell::RefCell,
    convert::Infallible,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that wait for the connection to take them.
const MAX_WAITING: usize = 64 << 10;

#[derive(Default)]
struct Shared {
    waiting: BytesMut,
    /// Nothing is written any more.
    over: bool,
    /// Nobody takes anything any more.
    gone: bool,
    body: Option<Waker>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What the connection brings and takes. To drop it ends the answer's body behind what was written.
pub struct Upgraded {
    payload: web::Payload,
    /// What came and was not read yet.
    rest: Bytes,
    shared: Rc<RefCell<Shared>>,
}

/// The body of the answer that changes the protocol.
pub struct Outgoing(Rc<RefCell<Shared>>);

/// Both ends of an upgraded connection.
#[must_use]
pub fn upgraded(payload: web::Payload) -> (Upgraded, Outgoing) {
    let shared = Rc::<RefCell<Shared>>::default();
    (Upgraded { payload, rest: Bytes::new(), shared: Rc::clone(&shared) }, Outgoing(shared))
}

impl MessageBody for Outgoing {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let mut shared = self.0.borrow_mut();
        if !shared.waiting.is_empty() {
            let bytes = std::mem::take(&mut shared.waiting).freeze();
            let writer = shared.writer.take();
            drop(shared);
            writer.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(bytes)));
        }
        if shared.over {
            return Poll::Ready(None);
        }
        remember(&mut shared.body, cx);
        Poll::Pending
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        shared.gone = true;
        let others = [shared.reader.take(), shared.writer.take()];
        drop(shared);
        others.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        let mut shared = self.shared.borrow_mut();
        shared.over = true;
        let body = shared.body.take();
        drop(shared);
        body.into_iter().for_each(Waker::wake);
    }
}

fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            {
                // The payload says nothing when the connection goes while it has nothing to say.
                let mut shared = self.shared.borrow_mut();
                if shared.gone {
                    return Poll::Ready(Ok(()));
                }
                remember(&mut shared.reader, cx);
            }
            match ready!(self.payload.poll_next_unpin(cx)) {
                Some(bytes) => self.rest = bytes.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        if self.rest.is_empty() {
            // An empty part would keep all of what came alive.
            self.rest = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = self.shared.borrow_mut();
        if shared.gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = MAX_WAITING.saturating_sub(shared.waiting.len());
        if room == 0 {
            remember(&mut shared.writer, cx);
            return Poll::Pending;
        }
        let count = room.min(buf.len());
        shared.waiting.extend_from_slice(&buf[..count]);
        let body = shared.body.take();
        drop(shared);
        body.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection takes what it can as soon as it can.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Dropping it ends the body.
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::{FromRequest as _, dev, error::PayloadError, test::TestRequest};
    use futures_util::{FutureExt as _, stream};
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A connection that has brought this and brings nothing more for now.
    async fn bringing(pieces: &'static [&'static str]) -> (Upgraded, Outgoing) {
        let pieces = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        let mut payload: dev::Payload = dev::Payload::Stream {
            payload: Box::pin(stream::iter(pieces).chain(stream::pending::<Result<_, PayloadError>>())),
        };
        let request = TestRequest::default().to_http_request();
        upgraded(web::Payload::from_request(&request, &mut payload).await.unwrap())
    }

    async fn next(body: &mut Outgoing) -> Option<Bytes> {
        poll_fn(|cx| Pin::new(&mut *body).poll_next(cx)).await.map(Result::unwrap)
    }

    #[actix_web::test]
    async fn bytes_pass_both_ways() {
        let (mut connection, mut body) = bringing(&["he", "", "llo"]).await;
        let mut brought = [0; 5];
        connection.read_exact(&mut brought).await.unwrap();
        assert_eq!(&brought, b"hello");
        assert!(next(&mut body).now_or_never().is_none());
        connection.write_all(b"wor").await.unwrap();
        connection.write_all(b"ld").await.unwrap();
        assert_eq!(next(&mut body).await.as_deref(), Some(b"world".as_slice()));
        connection.write_all(b"!").await.unwrap();
        drop(connection);
        assert_eq!(next(&mut body).await.as_deref(), Some(b"!".as_slice()));
        assert_eq!(next(&mut body).await, None);
    }

    #[actix_web::test]
    async fn a_connection_that_takes_nothing_makes_the_writer_wait_until_it_is_gone() {
        let (mut connection, mut body) = bringing(&[]).await;
        let much = vec![0; MAX_WAITING];
        connection.write_all(&much).await.unwrap();
        assert!(connection.write(b"more").now_or_never().is_none());
        let (written, taken) = tokio::join!(connection.write(b"more"), next(&mut body));
        assert_eq!((written.unwrap(), taken.map(|bytes| bytes.len())), (4, Some(MAX_WAITING)));
        let (read, ()) = tokio::join!(connection.read_u8(), async { drop(body) });
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(connection.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
