//! Ends a stream that brings more than anybody could mean.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::Instant,
};

/// Longest message, which is a line.
pub const MAX_MESSAGE: usize = 4 << 20;
/// Bytes that may come within [`WINDOW`].
const MAX_BYTES: usize = 32 << 20;
/// See [`MAX_BYTES`].
const WINDOW: Duration = Duration::from_secs(10);

/// Why a stream was ended, once it was. Clones are the same.
pub type Why = Arc<OnceLock<String>>;

/// A stream that fails once too much has come, at once or in one message.
#[derive(Debug)]
pub struct Throttle<R> {
    inner: R,
    since: Instant,
    bytes: usize,
    /// Bytes of the message that is not over yet.
    message: usize,
    why: Why,
}

impl<R> Throttle<R> {
    /// Around a stream; `why` is told when it is ended.
    pub fn new(inner: R, why: Why) -> Self {
        Self { inner, since: Instant::now(), bytes: 0, message: 0, why }
    }

    fn end(&self, why: String) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::Error::other(self.why.get_or_init(|| why).clone())))
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
            return self.end("it floods its output".to_owned());
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let new = &buf.filled()[before..];
        self.bytes += new.len();
        for (at, piece) in new.split(|byte| *byte == b'\n').enumerate() {
            let begun = if at == 0 { self.message } else { 0 };
            self.message = begun + piece.len();
            if self.message > MAX_MESSAGE {
                // With an error nothing has been read.
                buf.set_filled(before);
                return self.end(format!("it wrote a message of more than {MAX_MESSAGE} bytes"));
            }
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn a_flood_ends_and_a_stream_does_not() {
        let line = |bytes: usize| [vec![b'x'; bytes], vec![b'\n']].concat();
        for (text, ends) in [
            (b"abc".to_vec(), None),
            ([line(MAX_MESSAGE), line(MAX_MESSAGE)].concat(), None),
            ([line(3), line(MAX_MESSAGE + 1)].concat(), Some("more than 4194304 bytes")),
            (vec![b'x'; MAX_MESSAGE + 1], Some("more than 4194304 bytes")),
            (line(1 << 20).repeat(40), Some("floods")),
        ] {
            let why = Why::default();
            let mut stream = Throttle::new(&*text, why.clone());
            let mut read = Vec::new();
            let ended = stream.read_to_end(&mut read).await;
            match ends {
                None => assert_eq!((ended.unwrap(), why.get()), (text.len(), None)),
                Some(said) => {
                    assert!(
                        ended.unwrap_err().to_string().contains(said) && why.get().unwrap().contains(said)
                    );
                }
            }
        }
    }
}
