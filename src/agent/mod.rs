//! The agent: the part of chatd that runs where the work is, in a machine, container or folder, and
//! gives a chat its files, commands and project context (tools.md §15).
//!
//! [`link`] dials the daemon and keeps on dialling; over the link [`serve`] answers the daemon's
//! requests. What outlives a lost link is in [`Agent`]: processes, outcomes by tool call, tool servers.
//! [`supervise`] sees to it that nothing an agent started outlives it.
//!
//! Every path of the machine that the agent's user may touch can be asked for: the agent's rights are
//! the fence, so give it a user, container or machine of its own.

mod answer;
#[cfg_attr(not(target_os = "linux"), path = "uncached.rs")]
mod cached;
pub mod calls;
mod context;
mod edit_files;
pub mod edits;
mod files;
mod git;
pub mod link;
mod mcp;
mod process_calls;
pub mod processes;
pub mod serve;
pub mod settings;
pub mod supervise;

pub use serve::serve;
pub use settings::Settings;

use crate::clock::Clock;
use calls::Calls;
use processes::Registry;
use std::sync::Arc;

/// What an agent is, across all of its links.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    processes: Registry,
    calls: Calls,
    servers: mcp::Servers,
    mounts: cached::Mounts,
    clock: Clock,
}

impl Agent {
    /// An agent with nothing running yet.
    #[must_use]
    pub fn new(settings: Settings, clock: Clock) -> Arc<Self> {
        let processes = Registry::new(clock.clone());
        Arc::new(Self {
            settings,
            processes,
            calls: Calls::default(),
            servers: mcp::Servers::default(),
            mounts: cached::Mounts::default(),
            clock,
        })
    }

    /// What it was started with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Ends everything it has started. Nothing can be started afterwards.
    pub async fn stop(&self) {
        tokio::join!(self.processes.stop(), self.servers.stop());
    }
}
