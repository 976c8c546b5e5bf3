//! The one query source. Compiled twice, as a child of `postgres` and of `sqlite`, over their
//! connection type [`Conn`]; what must differ between the engines comes from the parent as a macro
//! or lies in [`divergent`]. A function here awaits nothing but its connection.

use super::{Conn, Statement, divergent};

pub mod accounts;
pub mod chats;
pub mod check;
pub mod clock;
pub mod commit;
pub mod costs;
pub mod create;
pub mod debug;
pub mod diffs;
pub mod files;
pub mod groups;
pub mod insights;
pub mod journal;
pub mod leases;
pub mod limits;
pub mod lists;
pub mod mcp;
pub mod messages;
pub mod models;
pub mod open_calls;
pub mod organizations;
pub mod replicas;
pub mod retention;
pub mod sealed;
pub mod search;
pub mod sessions;
pub mod settings;
pub mod sharing;
pub mod skills;
pub mod spend;
pub mod stream;
pub mod templates;
pub mod titles;
pub mod turn;
pub mod users;
pub mod workspace_agents;
pub mod workspace_builds;
pub mod workspaces;
