//! Bodies of requests and answers on a link: streams of HTTP/2.

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap,
    body::{Body, Frame},
    header::CONTENT_LENGTH,
};
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A body as it arrives. What was taken makes room for as much more.
#[derive(Debug)]
pub struct Received {
    stream: RecvStream,
    /// That of an answer.
    answer: bool,
    /// Bytes that are promised and have not come, where a number was promised.
    missing: Option<u64>,
}

impl Received {
    /// The body of a request.
    #[must_use]
    pub const fn request(stream: RecvStream) -> Self {
        Self { stream, answer: false, missing: None }
    }

    /// The body of an answer with these headers.
    #[must_use]
    pub fn answer(stream: RecvStream, headers: &HeaderMap) -> Self {
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Self { stream, answer: true, missing: length }
    }

    /// Whether a reset ends a body that is whole: that is how the end of an answer says that it wants no more of the
    /// request (RFC 9113, 8.1). Of a request it is never so.
    fn is_whole(&self, error: &h2::Error) -> bool {
        let reset = error.is_reset() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
        self.answer && reset && self.missing.is_none_or(|missing| missing == 0)
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(bytes)) => {
                self.missing = self.missing.map(|missing| missing.saturating_sub(bytes.len() as u64));
                // Fails for more than was received only.
                let released = self.stream.flow_control().release_capacity(bytes.len());
                Poll::Ready(Some(released.map(|()| Frame::data(bytes))))
            }
            Some(Err(e)) if self.is_whole(&e) => Poll::Ready(None),
            Some(Err(e)) => Poll::Ready(Some(Err(e))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
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
