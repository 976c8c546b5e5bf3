//! Reading a file that the kernel has in memory on the thread that answers. The usual way over a thread for blocking
//! work costs two wake-ups, which is a sixth of what a read takes altogether (bench/README.md). Nothing here may wait: a
//! file system that hangs would stop the link. Whatever is not certain not to wait is left to the usual way.

use crate::workspace::{
    files::steps_up,
    lines::{self, Lines, ReadRefusal, ReadRequest},
};
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat2, statx},
    io::{IoSliceMut, ReadWriteFlags, preadv2},
};
use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Largest file that is read so, in bytes: its lines are told apart in less time than a thread takes to wake.
const LARGEST: u64 = 128 << 10;
/// File systems whose files can be opened without asking another machine or process.
const LOCAL: [&str; 8] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "overlay"];
/// Mounts that are remembered; more are forgotten and looked up again.
const MOST_MOUNTS: usize = 256;

/// A mount by its id and device. An id alone may be given to another mount later.
type Mount = (u64, u32, u32);

/// Which mounts are known to be local.
#[derive(Debug, Default)]
pub struct Mounts(Mutex<HashMap<Mount, bool>>);

impl Mounts {
    /// Reads numbered lines, if that is certain not to wait. `None` says nothing of the file.
    pub fn read_lines(&self, request: &ReadRequest) -> Option<Result<Lines, ReadRefusal>> {
        let path = Path::new(&request.path);
        if !path.is_absolute() || steps_up(path) {
            return None;
        }
        // A look that opens nothing, so that no file system is asked for anything.
        let meta = look(&open(path, OFlags::PATH)?)?;
        let regular = FileType::from_raw_mode(meta.stx_mode.into()) == FileType::RegularFile;
        if !regular || meta.stx_size > LARGEST.min(request.caps.file_bytes) || !self.is_local(&meta) {
            return None;
        }
        let file = open(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        // With room for it to be longer by now.
        let bytes = read(&file, usize::try_from(meta.stx_size).ok()? + 1)?;
        Some(lines::read(&bytes, request))
    }

    fn is_local(&self, meta: &Statx) -> bool {
        let mount = (meta.stx_mnt_id, meta.stx_dev_major, meta.stx_dev_minor);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(local) = known.get(&mount) {
            return *local;
        }
        // The kernel writes it out of its memory.
        let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else { return false };
        if known.len() >= MOST_MOUNTS {
            known.clear();
        }
        let local = kind(&table, mount.0).is_some_and(|kind| LOCAL.contains(&kind));
        known.insert(mount, local);
        local
    }
}

/// Opens what the names already lead to in the kernel's memory, without any link on the way.
fn open(path: &Path, flags: OFlags) -> Option<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED | ResolveFlags::NO_SYMLINKS).ok()
}

/// What the kernel knows of a file by itself.
fn look(file: &OwnedFd) -> Option<Statx> {
    let wanted = StatxFlags::TYPE | StatxFlags::SIZE | StatxFlags::MNT_ID;
    let meta = statx(file, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, wanted).ok()?;
    StatxFlags::from_bits_retain(meta.stx_mask).contains(wanted).then_some(meta)
}

/// All bytes of a file of less than `room` bytes whose pages are in memory.
fn read(file: &OwnedFd, room: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; room];
    let mut filled = 0;
    // A part comes where the next page is not in memory, and at the end: only the end says so with nothing.
    while filled < room {
        let rest = &mut [IoSliceMut::new(&mut bytes[filled..])];
        match preadv2(file, rest, filled as u64, ReadWriteFlags::NOWAIT).ok()? {
            0 => {
                bytes.truncate(filled);
                return Some(bytes);
            }
            count => filled += count,
        }
    }
    None
}

/// The kind of a mount's file system, out of the text of proc_pid_mountinfo(5).
fn kind(table: &str, mount: u64) -> Option<&str> {
    table.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (before.split(' ').next()?.parse() == Ok(mount)).then(|| after.split(' ').next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{files, lines::ReadCaps};
    use std::os::unix::fs::symlink;

    fn asked(path: &Path) -> ReadRequest {
        let path = path.to_str().unwrap().to_owned();
        ReadRequest { path, offset: 1, limit: 0, caps: ReadCaps::default() }
    }

    #[test]
    fn a_file_in_memory_reads_as_the_usual_way_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let mounts = Mounts::default();
        for (name, text) in [("empty", ""), ("one", "a\n"), ("two", "a\nb"), ("long", &"line\n".repeat(2000))]
        {
            let file = folder.join(name);
            std::fs::write(&file, text).unwrap();
            let usual = files::read_lines(&asked(&file)).unwrap();
            // On a file system that is not known to be local there is nothing to compare.
            if let Some(read) = mounts.read_lines(&asked(&file)) {
                assert_eq!(read.unwrap(), usual, "{name}");
            }
        }
    }

    #[test]
    fn what_might_wait_or_is_no_plain_file_is_left_to_the_usual_way() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let mounts = Mounts::default();
        std::fs::create_dir(folder.join("dir")).unwrap();
        std::fs::write(folder.join("file"), "x").unwrap();
        std::fs::write(folder.join("large"), vec![b'x'; 1 << 18]).unwrap();
        symlink(folder.join("file"), folder.join("link")).unwrap();
        nix::unistd::mkfifo(&folder.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["dir", "large", "link", "fifo", "none", "file/", "dir/../file"] {
            assert_eq!(mounts.read_lines(&asked(&folder.join(name))), None, "{name}");
        }
        for path in ["file", "/proc/self/status", "/dev/null"] {
            assert_eq!(mounts.read_lines(&asked(Path::new(path))), None, "{path}");
        }
    }

    #[test]
    fn the_table_of_mounts_tells_kinds() {
        let table = "\
            22 1 0:21 / /proc rw,nosuid - proc proc rw\n\
            28 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw\n\
            31 28 0:44 / /home/a\\040-\\040b rw - nfs4 server:/home rw\n";
        assert_eq!(
            [22, 28, 31, 2].map(|id| kind(table, id)),
            [Some("proc"), Some("ext4"), Some("nfs4"), None]
        );
    }
}
