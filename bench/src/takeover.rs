//! Two replicas on one PostgreSQL database: one of them dies or leaves while its chats talk to the model.

use crate::{
    PATIENCE, Result,
    http::Client,
    process::{Daemon, Server},
    session::Target,
};
use nix::sys::signal::Signal;
use serde::Deserialize;
use std::{net::SocketAddr, path::Path, time::Duration};
use tokio::time::{Instant, sleep};

/// The process is gone at once.
pub const KILL: Signal = Signal::SIGKILL;
/// The process is asked to leave.
pub const STOP: Signal = Signal::SIGTERM;

/// Chats that change hands.
const CHATS: u64 = 8;
/// `worker.lease` of the replicas, instead of 30 s.
const LEASE: Duration = Duration::from_secs(2);
/// `server.shutdown_grace`, instead of 30 s: turns that are under way may end within it, and the
/// model's gate sees to it that none does.
const GRACE: Duration = Duration::from_secs(1);
/// How often the model is asked how many requests it has had.
const POLL: Duration = Duration::from_millis(2);

/// What the replicas have in common.
pub struct Replicas<'a> {
    pub program: &'a Path,
    pub home: &'a Path,
    pub postgres: &'a str,
    pub model: SocketAddr,
}

#[derive(Deserialize)]
struct Stats {
    requests: u64,
    active: u64,
}

async fn stats(model: &mut Client) -> Result<Stats> {
    Ok(serde_json::from_slice(&model.expect(200, "GET", "/stats", "").await?)?)
}

/// Waits until this holds for the model's figures.
async fn until(model: &mut Client, holds: impl Fn(&Stats) -> bool) -> Result<()> {
    let begin = Instant::now();
    while !holds(&stats(model).await?) {
        if begin.elapsed() > PATIENCE {
            return Err("the chats do not come to the model".into());
        }
        sleep(POLL).await;
    }
    Ok(())
}

impl Replicas<'_> {
    fn daemon(&self, name: &str) -> Daemon<'_> {
        Daemon {
            program: self.program,
            home: self.home.join(name),
            postgres: Some(self.postgres),
            model: self.model,
            coalesce: None,
            server: "shutdown_grace = \"1s\"",
            limits: "",
            worker: "lease = \"2s\"\nheartbeat_interval = \"500ms\"",
        }
    }

    /// Seconds from the signal, given this long after both replicas are up, to the last chat's request to the model by the other replica, less the
    /// lease or the grace. The model must be at its gate; it is left open.
    pub async fn lose(&self, model: &mut Client, signal: Signal, after: Duration) -> Result<f64> {
        // The first one owns all chats, because the other is not there yet.
        let (first, token) = self.daemon("first").start().await?;
        let target = Target::chatd(first.address, &token).await?;
        let mut http = target.http().await?.ok_or("chatd takes requests")?;
        for _ in 0..CHATS {
            target.create(&mut http).await?;
        }
        until(model, |now| now.active == CHATS).await?;
        let other: Server = self.daemon("other").launch().await?;
        sleep(after).await;
        let before = stats(model).await?.requests;
        let begin = Instant::now();
        first.signal(signal)?;
        until(model, |now| now.requests >= before + CHATS).await?;
        let waited = begin.elapsed();
        let owed = if signal == KILL { LEASE } else { GRACE };
        model.expect(200, "PUT", "/pace/0", "").await?;
        until(model, |now| now.active == 0).await?;
        first.stop().await?;
        other.stop().await?;
        Ok(waited.as_secs_f64() - owed.as_secs_f64())
    }
}
