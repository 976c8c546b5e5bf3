//! The folder of the daemon's files.

use super::{Check, Finding, Verdict};
use crate::config::Config;
use nix::{
    sys::statvfs::statvfs,
    unistd::{AccessFlags, access},
};
use std::{fs, os::unix::fs::PermissionsExt as _};

/// Below this much room, in bytes, it is told: databases grow, and a full disk stops every chat.
const SCARCE: u64 = 1 << 30;
/// Below this much room nothing works for long.
const NONE: u64 = 64 << 20;

/// Whether the daemon can keep its files there, and nobody else reads them.
pub fn data_dir(config: &Config) -> Finding {
    let folder = &config.data_dir;
    let shown = folder.display();
    let say = |verdict, detail: String| Finding::new(Check::DataDir, verdict, detail);
    let found = match fs::metadata(folder) {
        Ok(found) => found,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let detail = format!("{shown} is not there yet; the first start of the daemon makes it");
            return say(Verdict::Skipped, detail);
        }
        Err(e) => return say(Verdict::Failed, format!("{shown} cannot be looked at: {e}")),
    };
    if !found.is_dir() {
        return say(Verdict::Failed, format!("{shown} is no folder; name another one in data_dir"));
    }
    if let Err(e) = access(folder, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK) {
        return say(Verdict::Failed, format!("{shown} cannot be written by this user: {}", e.desc()));
    }
    let room = match statvfs(folder) {
        #[allow(clippy::useless_conversion, reason = "these are no u64 on every system")]
        Ok(disk) => u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size())),
        Err(e) => return say(Verdict::Warning, format!("the room in {shown} is not known: {}", e.desc())),
    };
    let left = format!("{shown}, with {} left", bytesize::ByteSize(room));
    let mode = found.permissions().mode() & 0o777;
    match room {
        ..NONE => say(Verdict::Failed, format!("{left}: make room")),
        NONE..SCARCE => say(Verdict::Warning, format!("{left}: make room")),
        _ if mode & 0o077 != 0 => say(
            Verdict::Warning,
            format!("{left}; other users of this host may look into it (mode {mode:o}): chmod 700 it"),
        ),
        _ => say(Verdict::Ok, left),
    }
}
