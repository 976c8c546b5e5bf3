//! `[metrics]`: figures for Prometheus.

use super::units;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Figures for Prometheus.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Whether `GET /metrics` answers. Default: true.
    pub enabled: bool,
    /// A listener of their own. Default: empty, the one of the API.
    #[serde(with = "units::optional")]
    pub listen: Option<SocketAddr>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enabled: true, listen: None }
    }
}
