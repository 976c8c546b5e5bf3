//! HTTP and WebSocket, one file per resource.
//!
//! [`routes`] is the whole URL table; [`problem`] turns every error into its status and body;
//! [`auth`] says who is calling and [`access`] what they may do. [`sockets`] is the half of a WebSocket
//! that [`stream`], [`parts`] and [`watch`] share.

pub mod access;
pub mod agent_link;
pub mod agent_relay;
pub mod ai_providers;
pub mod auth;
pub mod authcheck;
pub mod body;
pub mod builds;
pub mod chat_out;
pub mod chats;
pub mod commit;
pub mod content;
pub mod control;
pub mod costs;
pub mod create;
pub mod debug;
pub mod deployment;
pub mod diff;
pub mod doc;
pub mod docs_page;
pub mod events;
pub mod files;
mod frame_limit;
pub mod groups;
pub mod health;
pub mod insights;
pub mod labels;
pub mod limits;
pub mod mcp_directory;
pub mod mcp_input;
pub mod mcp_oauth;
pub mod mcp_servers;
pub mod messages;
pub mod models;
pub use crate::store::names;
pub mod notices;
mod objects;
pub mod observe;
pub mod openapi;
pub mod organizations;
pub mod parts;
pub mod passwords;
pub mod patch;
pub mod picks;
pub mod problem;
mod provider_input;
pub mod providers;
pub mod query;
pub mod queue;
pub mod routes;
pub mod search;
pub mod serve;
pub mod sessions;
pub mod settings;
pub mod sharing;
pub mod skills;
pub mod sockets;
pub mod state;
pub mod stream;
pub mod templates;
pub mod titles;
pub mod token;
pub mod tokens;
pub mod tool_results;
pub mod upgraded;
mod usage_limits;
pub mod user_keys;
pub mod users;
pub mod watch;
pub mod workspace_streams;
pub mod workspaces;

pub use routes::configure;
pub use serve::{serve, serve_metrics};
pub use state::{ApiSettings, ApiState, Streams};

#[cfg(test)]
mod tests;
