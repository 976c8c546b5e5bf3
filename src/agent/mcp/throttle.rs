//! Ends a stream that brings more than anybody could mean.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::Instant,
};

/// Bytes that may come within [`WINDOW`]. One message may have 4 MiB.
const MAX_BYTES: usize = 32 << 20;
/// See [`MAX_BYTES`].
const WINDOW: Duration = Duration::from_secs(10);

/// A stream that fails once too much has come.
#[derive(Debug)]
pub struct Throttle<R> {
    inner: R,
    since: Instant,
    bytes: usize,
}

impl<R> Throttle<R> {
    /// Around a stream.
    pub fn new(inner: R) -> Self {
        Self { inner, since: Instant::now(), bytes: 0 }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Throttle<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.since.elapsed() > WINDOW {
            self.since = Instant::now();
            self.bytes = 0;
        }
        if self.bytes > MAX_BYTES {
            return Poll::Ready(Err(io::Error::other("it floods its output")));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.bytes += buf.filled().len() - before;
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn a_flood_ends_and_a_stream_does_not() {
        let mut short = Vec::new();
        Throttle::new(&b"abc"[..]).read_to_end(&mut short).await.unwrap();
        assert_eq!(short, b"abc");
        let mut flood = Throttle::new(tokio::io::repeat(b'x'));
        let copied = tokio::io::copy(&mut flood, &mut tokio::io::sink()).await;
        assert!(copied.unwrap_err().to_string().contains("floods"));
    }
}
