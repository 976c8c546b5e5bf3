//! What a subscriber of a chat holds: the receiving end of its bounded queue.

use crate::stream::subscriber::{CloseReason, Refused, Sink};
use bytestring::ByteString;
use std::any::Any;
use tokio::sync::mpsc;

/// What goes to a subscriber's socket.
#[derive(Debug)]
pub enum Outgoing {
    /// A text frame, shared by everyone at the same position.
    Frame(ByteString),
    /// Nothing more will come.
    Close(CloseReason),
}

/// A subscription. Dropping it takes the subscriber off.
pub struct Subscription {
    /// Frames in order. When it ends without [`Outgoing::Close`], the queue was full at the end: the
    /// reader was too slow.
    pub outgoing: mpsc::Receiver<Outgoing>,
    /// Tells the chat when it is dropped.
    pub guard: Box<dyn Any + Send>,
}

/// The hub's end of the queue.
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
        // A full queue ends with the channel instead, which says "too slow".
        let _ = self.0.try_send(Outgoing::Close(reason));
    }
}
