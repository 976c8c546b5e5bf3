//! External tool servers (MCP): how the daemon comes to the tokens of users for them.
//!
//! Administrators choose the addresses of servers; what a server's metadata names beyond them is the
//! word of a stranger, and [`outbound`] keeps it out of the own network.

pub mod discovery;
pub mod oauth;
pub mod outbound;
pub mod tokens;
