//! Bodies of requests and answers on a link: streams of HTTP/2.

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A body as it arrives. What was taken makes room for as much more.
#[derive(Debug)]
pub struct Received(RecvStream);

impl Received {
    /// What this stream brings.
    #[must_use]
    pub const fn new(stream: RecvStream) -> Self {
        Self(stream)
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.0.poll_data(cx)) {
            Some(Ok(bytes)) => {
                // Fails for more than was received only.
                let released = self.0.flow_control().release_capacity(bytes.len());
                Poll::Ready(Some(released.map(|()| Frame::data(bytes))))
            }
            // All was said that there was to say.
            Some(Err(e)) if e.reason() == Some(Reason::NO_ERROR) => Poll::Ready(None),
            Some(Err(e)) => Poll::Ready(Some(Err(e))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// Sends a body to its end, of which no more than one piece waits for the other end. One that fails half-way is cut off,
/// so that nobody takes it for whole.
///
/// # Errors
/// When the other end does not take it.
pub async fn send<B>(mut body: B, into: &mut SendStream<Bytes>) -> Result<(), h2::Error>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    loop {
        room(into).await?;
        let piece = tokio::select! {
            biased;
            piece = body.frame() => piece,
            reset = poll_fn(|cx| into.poll_reset(cx)) => return reset.map(drop),
        };
        match piece {
            Some(Ok(frame)) => {
                let Ok(bytes) = frame.into_data() else { continue };
                let last = body.is_end_stream();
                into.send_data(bytes, last)?;
                if last {
                    return Ok(());
                }
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a body failed half-way");
                into.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
            None => return into.send_data(Bytes::new(), true),
        }
    }
}

/// Until something can be sent at once.
async fn room(into: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    into.reserve_capacity(1);
    while into.capacity() == 0 {
        match poll_fn(|cx| into.poll_capacity(cx)).await {
            Some(more) => more?,
            // The other end wants no more of it.
            None => return Err(Reason::CANCEL.into()),
        };
    }
    Ok(())
}
