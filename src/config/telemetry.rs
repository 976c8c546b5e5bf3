//! `[telemetry]`: traces.

use super::units::{self, Endpoint};
use serde::{Deserialize, Serialize};

/// Traces.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where OpenTelemetry traces go. Default: empty, nowhere.
    #[serde(with = "units::optional")]
    pub otlp_endpoint: Option<Endpoint>,
}
