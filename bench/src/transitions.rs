//! Transitions a second through the API: each client has a chat whose turn hangs at the model's gate,
//! and sends it a message, which is queued, and deletes it again.

use crate::{Result, clock, session::Target};
use clap::Args;
use serde::Deserialize;
use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Clients at the same time.
pub const CLIENTS: usize = 64;
const MESSAGE: &str = r#"{"content":[{"type":"text","text":"Say fifty words about nothing in particular."}],"busy_behavior":"queue"}"#;

/// Options of `chatd-bench transitions`.
#[derive(Args)]
pub struct Options {
    /// Address of chatd.
    #[arg(long)]
    address: SocketAddr,
    /// File with a token.
    #[arg(long)]
    token_file: PathBuf,
    /// Address of its model, a mock of ours.
    #[arg(long)]
    model: SocketAddr,
    /// Process of the server, for its processor time.
    #[arg(long)]
    pid: u32,
    /// How long, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

#[derive(Deserialize)]
struct Sent {
    queued: bool,
    queued_message: Option<Queued>,
}

#[derive(Deserialize)]
struct Queued {
    id: i64,
}

/// Rate, and processor time of the server in microseconds a transition.
pub struct Measured {
    pub rate: f64,
    pub cpu: f64,
}

/// Runs for this long. The model must be at its gate, and is left there.
pub async fn run(target: &Target, pid: u32, time: Duration) -> Result<Measured> {
    let mut clients = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        let mut http = target.http().await?.ok_or("the proxy has no transitions")?;
        let chat = target.create(&mut http).await?;
        clients.push((http, chat));
    }
    let (cpu, start) = (clock::cpu(pid)?, Instant::now());
    let until = start + time;
    let mut running = JoinSet::new();
    for (mut http, chat) in clients {
        running.spawn(async move {
            let base = format!("/api/experimental/chats/{chat}");
            let send = format!("{base}/messages");
            let mut count = 0_u64;
            while Instant::now() < until {
                let answer = http.expect(200, "POST", &send, MESSAGE).await?;
                let sent: Sent = serde_json::from_slice(&answer)?;
                let Sent { queued: true, queued_message: Some(Queued { id }) } = sent else {
                    return Err("a message to a busy chat was not queued".into());
                };
                http.expect(204, "DELETE", &format!("{base}/queue/{id}"), "").await?;
                count += 2;
            }
            Result::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(counted) = running.join_next().await {
        count += counted??;
    }
    let (wall, cpu) = (start.elapsed().as_secs_f64(), clock::cpu(pid)? - cpu);
    Ok(Measured { rate: count as f64 / wall, cpu: cpu as f64 / 1e3 / count as f64 })
}

/// Processor time of the server, in microseconds a request, for a request that changes nothing: what
/// of a transition is HTTP, and what is the look at who asks.
pub async fn reads(target: &Target, pid: u32, path: &'static str) -> Result<f64> {
    const EACH: usize = 100;
    let (mut running, cpu) = (JoinSet::new(), clock::cpu(pid)?);
    for _ in 0..CLIENTS {
        let mut http = target.http().await?.ok_or("the proxy serves nothing but sockets")?;
        running.spawn(async move {
            for _ in 0..EACH {
                http.expect(200, "GET", path, "").await?;
            }
            Result::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok((clock::cpu(pid)? - cpu) as f64 / 1e3 / (CLIENTS * EACH) as f64)
}

/// `chatd-bench transitions`.
pub async fn command(options: &Options) -> Result<()> {
    let target = Target::chatd(options.address, std::fs::read_to_string(&options.token_file)?.trim()).await?;
    let mut model = crate::http::Client::connect(options.model, "").await?;
    model.expect(200, "PUT", "/gate", "").await?;
    let measured = run(&target, options.pid, Duration::from_secs_f64(options.seconds)).await?;
    model.expect(200, "PUT", "/pace/0", "").await?;
    println!("{:.0} transitions/s, {:.1} us CPU each", measured.rate, measured.cpu);
    Ok(())
}
