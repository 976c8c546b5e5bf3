//! The hub's end of a subscriber's bounded queue.

use super::subscription::Outgoing;
use crate::stream::subscriber::{CloseReason, Refused, Sink};
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
