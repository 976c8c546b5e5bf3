//! The hub's ends of the bounded queues of subscribers and of readers of parts.

use super::subscription::Outgoing;
use crate::stream::{
    relay::PartSink,
    subscriber::{CloseReason, Refused, Sink},
};
use bytestring::ByteString;
use tokio::sync::mpsc;

/// A channel as a [`Sink`]. Its last place is kept for the close, so that a reader whose queue is full
/// is told why it is sent away.
#[derive(Debug)]
pub struct ChannelSink(mpsc::Sender<Outgoing>);

impl ChannelSink {
    /// A queue of this many frames, and its end for the reader.
    #[must_use]
    pub fn queue(frames: usize) -> (Self, mpsc::Receiver<Outgoing>) {
        let (sender, receiver) = mpsc::channel(frames + 1);
        (Self(sender), receiver)
    }
}

impl Sink for ChannelSink {
    fn try_send(&mut self, frame: ByteString) -> Result<(), Refused> {
        // Nobody else sends, so what is free here stays free.
        if self.0.capacity() == 1 && !self.0.is_closed() {
            return Err(Refused::Full);
        }
        self.0.try_send(Outgoing::Frame(frame)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Closed,
        })
    }

    fn queued(&self) -> usize {
        if self.0.is_closed() { 0 } else { self.0.max_capacity() - self.0.capacity() }
    }

    fn close(self, reason: CloseReason) {
        // It fails only when the reader is gone.
        let _ = self.0.try_send(Outgoing::Close(reason.into()));
    }
}

/// A channel as a [`PartSink`].
#[derive(Debug)]
pub struct PartsSink(pub mpsc::Sender<Vec<ByteString>>);

impl PartSink for PartsSink {
    fn try_send(&mut self, parts: &[ByteString]) -> Result<(), Refused> {
        self.0.try_send(parts.to_vec()).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Closed,
        })
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::subscription;

    #[test]
    fn a_full_queue_still_takes_the_reason_of_its_end() {
        let (mut sink, mut reader) = ChannelSink::queue(2);
        assert_eq!(sink.queued(), 0);
        assert_eq!((sink.try_send("1".into()), sink.try_send("2".into())), (Ok(()), Ok(())));
        assert_eq!((sink.try_send("3".into()), sink.queued()), (Err(Refused::Full), 2));
        sink.close(CloseReason::TooSlow);
        let mut left = Vec::new();
        while let Ok(next) = reader.try_recv() {
            left.push(next);
        }
        let frame = |text: &str| Outgoing::Frame(text.to_owned().into());
        assert_eq!(left, [frame("1"), frame("2"), Outgoing::Close(subscription::CloseReason::Lagging)]);
    }

    #[test]
    fn a_reader_that_is_gone_is_noticed() {
        let (mut sink, reader) = ChannelSink::queue(1);
        sink.try_send("1".into()).unwrap();
        drop(reader);
        assert_eq!((sink.try_send("2".into()), sink.queued()), (Err(Refused::Closed), 0));
    }
}
