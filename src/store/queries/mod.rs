//! The one query source. Compiled twice, as a child of `postgres` and of `sqlite`, over their
//! connection type [`Conn`]; what must differ between the engines comes from the parent as a macro
//! or lies in [`divergent`]. A function here awaits nothing but its connection.

use super::{Conn, divergent};

pub mod accounts;
pub mod chats;
pub mod clock;
pub mod commit;
pub mod create;
pub mod debug;
pub mod files;
pub mod leases;
pub mod mcp;
pub mod messages;
pub mod models;
pub mod open_calls;
pub mod replicas;
pub mod sealed;
pub mod skills;
pub mod stream;
pub mod turn;
