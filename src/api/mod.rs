//! HTTP and WebSocket, one file per resource.
//!
//! [`routes`] is the whole URL table; [`problem`] turns every error into its status and body;
//! [`auth`] says who is calling and [`access`] what they may do. [`sockets`] is the half of a WebSocket
//! that [`stream`], [`parts`] and [`watch`] share.

pub mod access;
pub mod auth;
pub mod body;
pub mod chat_out;
pub mod chats;
pub mod commit;
pub mod content;
pub mod control;
pub mod create;
pub mod debug;
pub mod deployment;
pub mod doc;
pub mod files;
mod frame_limit;
pub mod health;
pub mod labels;
pub mod mcp_directory;
pub mod mcp_input;
pub mod mcp_oauth;
pub mod mcp_servers;
pub mod messages;
pub mod models;
pub mod notices;
pub mod observe;
pub mod openapi;
pub mod parts;
pub mod patch;
pub mod picks;
pub mod problem;
pub mod providers;
pub mod query;
pub mod queue;
pub mod routes;
pub mod search;
pub mod serve;
pub mod skills;
pub mod sockets;
pub mod state;
pub mod stream;
pub mod token;
pub mod tool_results;
pub mod users;
pub mod watch;

pub use routes::configure;
pub use serve::{serve, serve_metrics};
pub use state::{ApiSettings, ApiState, Streams};

#[cfg(test)]
mod tests;
