//! `[stream]`: what a watching client may hold and how long.

use super::units;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a watching client may hold and how long. Defaults: cli-and-config.md.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stream {
    /// Events a slow subscriber may be behind before it is synchronised anew. Default: 128.
    pub subscriber_queue: u32,
    /// Bytes of parts kept of one running attempt. Default: 1 MiB.
    #[serde(with = "units::size")]
    pub episode_buffer: u64,
    /// Parts that arrive within this time are sent as one frame; the first ones after a quiet moment
    /// go out at once. 0s = each at once. Default: 15 ms.
    #[serde(with = "units::text")]
    pub coalesce: Duration,
    /// How long a chat that nobody drives or watches stays in memory. The parts of an attempt are kept
    /// for 15 s after its end in any case, for late followers. Default: 5 s.
    #[serde(with = "units::text")]
    pub retain_grace: Duration,
    /// How often idle stream state is looked for and freed. Default: 30 s.
    #[serde(with = "units::text")]
    pub janitor_interval: Duration,
    /// How often a stream reads the database without a hint. Default: 10 s.
    #[serde(with = "units::text")]
    pub sync_interval: Duration,
    /// How often a ping is sent on an open WebSocket. Default: 15 s.
    #[serde(with = "units::text")]
    pub ping_interval: Duration,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            subscriber_queue: 128,
            episode_buffer: 1 << 20,
            coalesce: Duration::from_millis(15),
            retain_grace: Duration::from_secs(5),
            janitor_interval: Duration::from_secs(30),
            sync_interval: Duration::from_secs(10),
            ping_interval: Duration::from_secs(15),
        }
    }
}
