//! What an agent has started, wherever it has gone: each command carries the agent's mark in its environment.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

/// The mark.
pub const ENV_RUN: &str = "CHATD_AGENT_RUN";
/// How often the processes are looked at.
const POLL: Duration = Duration::from_millis(10);
/// How long they may take to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Kills everything whose environment has the mark of this agent: what has left its process group is nobody's child any more when
/// the agent's supervisor is gone.
pub async fn end_marked(run: &str) {
    let mark: Arc<str> = format!("{ENV_RUN}={run}").into();
    let all_gone = async {
        loop {
            let mark = mark.clone();
            // A host has thousands of processes.
            match spawn_blocking(move || marked(&mark)).await {
                Ok(left) if left.is_empty() => return,
                Ok(left) => left.into_iter().for_each(|process| {
                    // The only failure is that it has just ended.
                    let _ = kill(process, Signal::SIGKILL);
                }),
                Err(error) => {
                    return tracing::error!(%error, "what an agent has left behind was not looked for");
                }
            }
            sleep(POLL).await;
        }
    };
    if timeout(PATIENCE, all_gone).await.is_err() {
        tracing::warn!(%run, "what an agent has left behind does not end");
    }
}

/// The processes with a mark.
fn marked(mark: &str) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let has = |entry: std::fs::DirEntry| -> Option<Pid> {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        // Those of other users cannot be read, nor killed. A dead one has none.
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        environment
            .split(|b| *b == 0)
            .any(|variable| variable == mark.as_bytes())
            .then_some(Pid::from_raw(pid))
    };
    processes.flatten().filter_map(has).collect()
}
