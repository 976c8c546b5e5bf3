//! Clients of the API: plain HTTP with exact statuses, and the two WebSocket streams.

mod events;
mod fold;
#[cfg(test)]
mod fold_tests;
mod http;
mod socket;
#[cfg(test)]
mod socket_tests;

pub use events::EventStream;
pub use fold::{Fold, Preview};
pub use http::{Answer, Api};
pub use socket::{ChatStream, Closed, WatchStream, refusal};
