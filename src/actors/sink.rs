//! The hub's ends of the bounded queues of subscribers and of readers of parts.

use super::subscription::Outgoing;
use crate::stream::{
    relay::PartSink,
    subscriber::{CloseReason, Refused, Sink},
};
use bytestring::ByteString;
use tokio::sync::mpsc;

/// A channel as a [`Sink`].
#[derive(Debug)]
pub struct ChannelSink(pub mpsc::Sender<Outgoing>);

impl Sink for ChannelSink {
    fn try_send(&mut self, frame: ByteString) -> Result<(), Refused> {
        self.0.try_send(Outgoing::Frame(frame)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Closed,
        })
    }

    fn queued(&self) -> usize {
        if self.0.is_closed() { 0 } else { self.0.max_capacity() - self.0.capacity() }
    }

    fn close(self, reason: CloseReason) {
        // A full queue ends with the channel instead, and the reader is told to reconnect.
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
