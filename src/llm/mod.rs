//! A model behind one function, cut by wire format and not by vendor.
//!
//! [`request`] is what is asked and [`event`] what comes back. [`transport`] owns the socket, [`wire`]
//! names the pure decoders, [`classify`] turns everything that can go wrong into one [`failure`].

pub mod anthropic_messages;
pub mod catalog;
pub mod chat_completions;
pub mod classify;
pub mod event;
pub mod failure;
mod media;
pub mod model_config;
mod object;
pub mod openai_responses;
mod options;
pub mod providers;
pub mod redact;
pub mod request;
mod retry_after;
pub mod scripted;
mod secret;
pub mod side_call;
mod sse;
pub mod tap;
#[cfg(test)]
mod testing;
pub mod transport;
pub mod wire;

pub use secret::Secret;
pub use transport::{Endpoint, client, stream, stream_tapped};

use event::Event;
use failure::Failure;
use futures_util::stream::BoxStream;

/// A stream of model events. Dropping it closes the provider's socket.
pub type EventStream = BoxStream<'static, Result<Event, Failure>>;
