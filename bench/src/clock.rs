//! Time that several processes of one machine read alike.

use crate::Result;
use nix::{
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use std::time::Duration;

/// Nanoseconds of `CLOCK_MONOTONIC`: the same in every process.
pub fn mono() -> u64 {
    let now = ClockId::CLOCK_MONOTONIC.now().expect("Linux has a monotonic clock");
    nanos(Duration::from(now))
}

/// Nanoseconds of processor time a process has used, its ended threads included.
///
/// # Errors
/// When there is no such process.
pub fn cpu(pid: u32) -> Result<u64> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?;
    Ok(nanos(Duration::from(clock.now()?)))
}

/// Resident memory of a process in KiB.
///
/// # Errors
/// When there is no such process.
pub fn resident_kib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS line")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a machine is up for less than 584 years")
}
