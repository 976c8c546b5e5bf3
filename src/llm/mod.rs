//! A model behind one trait, cut by wire format and not by vendor.

pub mod event;
pub mod failure;
pub mod request;

use event::Event;
use failure::Failure;
use futures_util::stream::BoxStream;

/// A stream of model events. Dropping it closes the provider's socket.
pub type EventStream = BoxStream<'static, Result<Event, Failure>>;
