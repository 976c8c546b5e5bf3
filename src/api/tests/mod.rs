//! HTTP tests against a real SQLite store.

mod accounts;
mod calls;
mod chats;
mod sockets;
mod support;
