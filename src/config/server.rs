//! `[server]`: where the daemon listens and how it is reached.

use super::units::{self, Endpoint};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZero,
    thread::available_parallelism,
    time::Duration,
};

/// Where the daemon listens and how it is reached.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port. Default: 127.0.0.1:7777; port 0 takes a free one.
    #[serde(with = "units::text")]
    pub listen: SocketAddr,
    /// What clients and agents use to reach the daemon. Default: `http://{listen}`.
    #[serde(with = "units::optional")]
    pub public_url: Option<Endpoint>,
    /// How other replicas reach this one. Default: `http://{listen}`.
    #[serde(with = "units::optional")]
    pub relay_url: Option<Endpoint>,
    /// Threads that serve HTTP and drive chats. Default: 0, the number of cores.
    pub workers: usize,
    /// How long running turns may go on after SIGTERM. Default: 30 s.
    #[serde(with = "units::text")]
    pub shutdown_grace: Duration,
    /// Largest request body, in bytes. Default: 16 MiB.
    #[serde(with = "units::size")]
    pub max_body: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7777)),
            public_url: None,
            relay_url: None,
            workers: 0,
            shutdown_grace: Duration::from_secs(30),
            max_body: 16 << 20,
        }
    }
}

impl Server {
    /// What clients use, for a listener that is bound to `bound`.
    #[must_use]
    pub fn public_url(&self, bound: SocketAddr) -> String {
        self.public_url.as_ref().map_or_else(|| local_url(bound), |url| url.as_str().to_owned())
    }

    /// What other replicas use, for a listener that is bound to `bound`.
    #[must_use]
    pub fn relay_url(&self, bound: SocketAddr) -> String {
        self.relay_url.as_ref().map_or_else(|| local_url(bound), |url| url.as_str().to_owned())
    }

    /// The number of threads: `workers`, or one for each core.
    #[must_use]
    pub fn worker_threads(&self) -> usize {
        match self.workers {
            0 => available_parallelism().map_or(1, NonZero::get),
            n => n,
        }
    }
}

/// `http://{address}`; nobody can call "every address", so that one becomes the loopback.
#[must_use]
pub fn local_url(bound: SocketAddr) -> String {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, bound.port()))
}
