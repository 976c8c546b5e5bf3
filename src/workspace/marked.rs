//! What an agent has started, wherever it has gone: each command carries the agent's mark in its environment.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The mark.
pub const ENV_RUN: &str = "CHATD_AGENT_RUN";
/// How often the processes are looked at.
const POLL: Duration = Duration::from_millis(10);
/// How long they may take to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Kills everything whose environment has the mark of this agent: what has left its process group is nobody's child any more when
/// the agent's supervisor is gone.
pub async fn end_marked(run: &str) {
    let mark = format!("{ENV_RUN}={run}");
    let marked = || {
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
        processes.flatten().filter_map(has).collect::<Vec<_>>()
    };
    let all_gone = async {
        loop {
            let left = marked();
            if left.is_empty() {
                return;
            }
            for process in left {
                // The only failure is that it has just ended.
                let _ = kill(process, Signal::SIGKILL);
            }
            sleep(POLL).await;
        }
    };
    // One that cannot be killed is not waited for.
    drop(timeout(PATIENCE, all_gone).await);
}
