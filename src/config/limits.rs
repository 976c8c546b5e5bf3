//! `[limits]`: how often somebody may ask, and how much somebody may have.

use serde::{Deserialize, Serialize};

/// How often somebody may ask.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests of one user a minute, on each replica; 0 = no limit. Default: 60000, a thousand a second.
    pub requests_per_minute: u32,
    /// Attempts to sign in to one account a minute, right or wrong, on each replica; six times as many
    /// from one address; 0 = no limit. Default: 10.
    pub logins_per_minute: u32,
    /// Uploads and downloads of files by one user a minute, together, on each replica; 0 = no limit. Default: 120.
    pub files_per_minute: u32,
    /// Workspaces that one user may have; 0 = no limit. Default: 20.
    pub workspaces_per_user: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_minute: 60_000,
            logins_per_minute: 10,
            files_per_minute: 120,
            workspaces_per_user: 20,
        }
    }
}
