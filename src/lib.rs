//! chatd keeps conversations with AI agents alive across crashes, deploys and replicas.
//!
//! Start in [`chat`]: what may happen to a chat. [`store`] makes it durable; [`turn`] asks the model.
//!
//! Invariant: [`chat`] performs no I/O. Invariant: only `store::commit` writes chat tables.
//! Imports point one way (see `docs/ARCHITECTURE.md`; `tests/it/architecture.rs` enforces it).

pub mod actors;
pub mod agent;
pub mod api;
pub mod app;
pub mod bus;
pub mod chat;
pub mod cli;
pub mod clock;
pub mod config;
pub mod ids;
pub mod llm;
pub mod logging;
pub mod mcp;
pub mod metrics;
pub mod store;
pub mod stream;
pub mod tools;
pub mod turn;
pub mod websocket;
pub mod workspace;
