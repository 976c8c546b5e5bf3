//! HTTP tests against a real store, on SQLite and on PostgreSQL.

mod accounts;
mod calls;
mod chats;
mod insights;
mod links;
mod sockets;
mod support;
