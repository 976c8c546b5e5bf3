//! Turns from many conversations at once, and what they cost the server.

use crate::{
    Result, clock,
    http::Client,
    mock_model::DELTAS,
    session::{Session, Target, Turn},
};
use clap::Args;
use std::{collections::VecDeque, net::SocketAddr, path::PathBuf};
use tokio::task::JoinSet;

/// Connections that make chats at the same time.
const MAKERS: usize = 16;

/// Options of `chatd-bench load`.
#[derive(Args)]
pub struct Options {
    /// Address of the server.
    #[arg(long)]
    address: SocketAddr,
    /// File with a token: the server is chatd. Without: it is the proxy.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Process of the server, for its processor time.
    #[arg(long)]
    pid: Option<u32>,
    /// Conversations that talk at the same time.
    #[arg(long, default_value_t = 8)]
    chats: usize,
    /// Turns of all of them together.
    #[arg(long, default_value_t = 400)]
    turns: usize,
}

/// What a number of turns took.
pub struct Run {
    /// Turns a second of wall time.
    pub rate: f64,
    /// Processor time of the server, milliseconds per 1000 turns.
    pub cpu: f64,
    /// Share of all cores that the server took, 0 to 1.
    pub share: f64,
    /// Share of the deltas that came live and not in the stored message, 0 to 1.
    pub live: f64,
    /// Delay of each delta in milliseconds, ascending, as the next two.
    pub delays: Vec<f64>,
    /// Message sent to first delta received.
    pub first: Vec<f64>,
    /// Message sent to request read by the model.
    pub reach: Vec<f64>,
}

/// Makes conversations that have had their first turn.
pub async fn prepare(target: &Target, count: usize) -> Result<Vec<Session>> {
    let mut makers = JoinSet::new();
    for n in 0..MAKERS {
        let share = count / MAKERS + usize::from(n < count % MAKERS);
        let target = target.clone();
        makers.spawn(async move {
            let mut http = target.http().await?;
            let mut made = Vec::with_capacity(share);
            for _ in 0..share {
                made.push(target.open(http.as_mut()).await?);
            }
            Result::Ok(made)
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(made) = makers.join_next().await {
        all.append(&mut made??);
    }
    Ok(all)
}

/// Runs this many turns, `at_once` at a time, each conversation as often as the others: a history
/// that grows long would be measured instead of a turn.
pub async fn run(
    target: &Target,
    pid: Option<u32>,
    sessions: Vec<Session>,
    at_once: usize,
    turns: usize,
) -> Result<Run> {
    let mut hands: Vec<(Option<Client>, VecDeque<Session>)> = Vec::with_capacity(at_once);
    for _ in 0..at_once {
        hands.push((target.http().await?, VecDeque::new()));
    }
    for (n, session) in sessions.into_iter().enumerate() {
        hands[n % at_once].1.push_back(session);
    }
    let (cpu, start) = (cpu_of(pid)?, clock::mono());
    let mut workers = JoinSet::new();
    for (n, (mut http, mut sessions)) in hands.into_iter().enumerate() {
        let share = turns / at_once + usize::from(n < turns % at_once);
        workers.spawn(async move {
            let mut done = Vec::with_capacity(share);
            for _ in 0..share {
                let mut session = sessions.pop_front().ok_or("fewer conversations than workers")?;
                done.push(session.turn(http.as_mut()).await?);
                sessions.push_back(session);
            }
            Result::Ok((done, sessions))
        });
    }
    let (mut done, mut over): (Vec<Turn>, Vec<Session>) = (Vec::with_capacity(turns), Vec::new());
    while let Some(worker) = workers.join_next().await {
        let (mut turns, sessions) = worker??;
        done.append(&mut turns);
        over.extend(sessions);
    }
    let (wall, cpu) = (clock::mono() - start, cpu_of(pid)? - cpu);
    for session in over {
        session.close().await?;
    }
    let cores = std::thread::available_parallelism()?.get() as f64;
    let live: usize = done.iter().map(|turn| turn.delays.len()).sum();
    Ok(Run {
        live: live as f64 / (turns * DELTAS) as f64,
        rate: turns as f64 / (wall as f64 / 1e9),
        cpu: cpu as f64 / 1e6 / turns as f64 * 1000.0,
        share: cpu as f64 / wall as f64 / cores,
        delays: millis(done.iter().flat_map(|turn| turn.delays.iter().copied())),
        first: millis(done.iter().map(|turn| turn.first.saturating_sub(turn.sent))),
        reach: millis(done.iter().map(|turn| turn.arrived.saturating_sub(turn.sent))),
    })
}

fn cpu_of(pid: Option<u32>) -> Result<u64> {
    pid.map_or(Ok(0), clock::cpu)
}

fn millis(nanos: impl Iterator<Item = u64>) -> Vec<f64> {
    let mut all: Vec<f64> = nanos.map(|n| n as f64 / 1e6).collect();
    all.sort_by(f64::total_cmp);
    all
}

/// The value below which `share` (0 to 1) of ascending values lie; the nearest rank.
pub fn quantile(ascending: &[f64], share: f64) -> f64 {
    let rank = (ascending.len() as f64 * share).ceil() as usize;
    ascending.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// `chatd-bench load`.
pub async fn command(options: &Options) -> Result<()> {
    let target = match &options.token_file {
        None => Target::proxy(options.address),
        Some(file) => Target::chatd(options.address, std::fs::read_to_string(file)?.trim()).await?,
    };
    let sessions = prepare(&target, options.chats.max(options.turns / 10)).await?;
    let run = run(&target, options.pid, sessions, options.chats, options.turns).await?;
    println!("{:.1} turns/s, {:.1} ms CPU per 1000 turns, {:.1} % live", run.rate, run.cpu, run.live * 100.0);
    for (name, values) in [("delta", &run.delays), ("first delta", &run.first), ("request", &run.reach)] {
        let [half, most] = [0.5, 0.99].map(|share| quantile(values, share));
        println!("{name}: p50 {half:.3} ms, p99 {most:.3} ms");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5).to_bits(), 50.0_f64.to_bits());
        assert_eq!(quantile(&values, 0.99).to_bits(), 99.0_f64.to_bits());
        assert_eq!(quantile(&[7.0], 0.99).to_bits(), 7.0_f64.to_bits());
        assert!(quantile(&[], 0.5).is_nan());
    }
}
