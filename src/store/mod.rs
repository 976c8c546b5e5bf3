//! The durable truth. One query source, two engines.
//!
//! [`Store`] is the face: one operation a line in `operations.rs`. `queries/commit.rs` is the only writer of a chat's execution columns, its messages and its queue.

#[macro_use]
mod operations;
mod announce;
mod check;
mod claimer;
pub mod commit;
mod divergent;
mod engine;
pub mod error;
pub mod files;
mod mcp_rows;
mod mcp_writes;
pub mod migrate;
mod model_rows;
pub mod names;
pub mod postgres;
pub mod records;
mod rotation;
mod rows;
mod schema;
pub mod sealing;
pub mod settings;
pub mod spend;
pub mod sqlite;
mod statement;
mod statements;
#[cfg(test)]
pub(crate) mod tests;
pub mod transfer;
mod types;
mod wide;
pub mod words;
mod workspace_rows;

pub use claimer::{Claimer, Taken};
pub use engine::{ClaimSpec, Store};
pub use error::{Error, Result};
pub use rotation::{KeyState, RotateError, Rotated};
