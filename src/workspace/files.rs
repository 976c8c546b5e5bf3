//! Files as tools read and replace them. Blocking; [`blocking`] runs it beside the asynchronous work.

use super::{
    WorkspaceError,
    lines::{self, Lines, ReadRefusal, ReadRequest},
    paths,
};
use nix::{
    errno::Errno,
    fcntl::{self, AtFlags, OFlag},
    sys::stat::{Mode, SFlag, fstatat, mkdirat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat},
};
use std::{
    ffi::OsStr,
    fs::{File, Permissions},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::{Component, Path},
};

/// Names the failure as the model should hear it.
#[must_use]
pub fn io_error(what: &str, path: &str, cause: io::Error) -> WorkspaceError {
    let path_text = path.to_owned();
    match cause.kind() {
        io::ErrorKind::NotFound => WorkspaceError::NotFound(path_text),
        io::ErrorKind::PermissionDenied => WorkspaceError::Permission(path_text),
        io::ErrorKind::NotADirectory => WorkspaceError::NotADirectory(path_text),
        io::ErrorKind::IsADirectory => WorkspaceError::NotAFile(path_text),
        _ => WorkspaceError::Io { what: format!("{what} {path:?}"), cause },
    }
}

/// Runs blocking file work; a panic in it becomes an error of this call.
///
/// # Errors
/// What the work says.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(WorkspaceError::Io { what: "file work stopped".to_owned(), cause: io::Error::other(error) })
    })
}

/// How a directory on the way is opened: not through a link, and, where there is a way, without the
/// right to list it.
fn step() -> OFlag {
    #[cfg(target_os = "linux")]
    let search = OFlag::O_PATH;
    #[cfg(not(target_os = "linux"))]
    let search = OFlag::O_RDONLY;
    search | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// Opens the directory that a path lies in, and gives the name it has there. No link is followed: the
/// path has been followed already ([`super::paths::follow`]), and a directory that has been swapped for
/// a link since then is refused. `make` makes what is missing, with mode 0755.
fn parent<'a>(path: &'a Path, shown: &str, make: bool) -> Result<(OwnedFd, &'a OsStr), WorkspaceError> {
    let name = path.file_name().ok_or_else(|| WorkspaceError::NotAFile(shown.to_owned()))?;
    let failed = |errno: Errno| io_error("open", shown, errno.into());
    let mut dir = fcntl::open("/", step(), Mode::empty()).map_err(failed)?;
    for component in path.parent().into_iter().flat_map(Path::components) {
        let Component::Normal(name) = component else { continue };
        let opened = match fcntl::openat(&dir, name, step(), Mode::empty()) {
            Err(Errno::ENOENT) if make => {
                match mkdirat(&dir, name, Mode::from_bits_truncate(0o755)) {
                    // Somebody else was faster.
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(failed(errno)),
                }
                fcntl::openat(&dir, name, step(), Mode::empty())
            }
            opened => opened,
        };
        dir = opened.map_err(failed)?;
    }
    Ok((dir, name))
}

/// How a file is opened for reading. Without waiting: a pipe's opening would wait for its writer.
fn reading() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// Opens a file in one step when no link is on its way. `None` when there is one, or for any other reason: whoever goes
/// step by step will hear it.
#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    use nix::fcntl::{AT_FDCWD, OpenHow, ResolveFlag, openat2};
    let how = OpenHow::new().flags(reading()).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(AT_FDCWD, path, how).ok().map(File::from)
}

/// Other systems go step by step.
#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path) -> Option<File> {
    None
}

/// Whether a path has a step up. It is followed in words, so that a missing directory on the way does not matter.
#[must_use]
pub fn steps_up(path: &Path) -> bool {
    path.components().any(|step| step == Component::ParentDir)
}

/// Opens a regular file and tells its size, wherever the links of its path lead.
///
/// # Errors
/// When there is none, or it is something else.
pub fn open_followed(path: &str) -> Result<(File, u64), WorkspaceError> {
    if Path::new(path).is_absolute()
        && !steps_up(Path::new(path))
        && let Some(file) = open_direct(Path::new(path))
    {
        return regular(file, path);
    }
    open(&paths::follow(path)?, path)
}

/// Opens a regular file and tells its size. `path` has no links in it, `shown` is as it was asked for.
///
/// # Errors
/// When there is none, or it is something else.
pub fn open(path: &Path, shown: &str) -> Result<(File, u64), WorkspaceError> {
    if let Some(file) = open_direct(path) {
        return regular(file, shown);
    }
    let (dir, name) = parent(path, shown, false)?;
    let file = match fcntl::openat(&dir, name, reading(), Mode::empty()) {
        Ok(file) => File::from(file),
        // A socket, or a device without its driver.
        Err(Errno::ENXIO) => return Err(WorkspaceError::NotAFile(shown.to_owned())),
        Err(errno) => return Err(io_error("open", shown, errno.into())),
    };
    regular(file, shown)
}

/// Looked at after the opening: what was looked at is what is read.
fn regular(file: File, shown: &str) -> Result<(File, u64), WorkspaceError> {
    let meta = file.metadata().map_err(|cause| io_error("open", shown, cause))?;
    if meta.is_file() { Ok((file, meta.len())) } else { Err(WorkspaceError::NotAFile(shown.to_owned())) }
}

/// Reads a whole regular file of at most `cap` bytes.
///
/// # Errors
/// When it is larger, and those of [`open`].
pub fn read(path: &Path, shown: &str, cap: u64) -> Result<Vec<u8>, WorkspaceError> {
    whole(open(path, shown)?, shown, cap)
}

/// Reads what is left of a regular file of this size.
fn whole((file, size): (File, u64), shown: &str, cap: u64) -> Result<Vec<u8>, WorkspaceError> {
    let too_large = |size| Err(ReadRefusal::FileTooLarge { size, cap }.into());
    if size > cap {
        return too_large(size);
    }
    // With room for the end to be found by the read that brings the rest.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default().saturating_add(64));
    // It may grow meanwhile.
    let read = file.take(cap.saturating_add(1)).read_to_end(&mut bytes);
    let read = read.map_err(|cause| io_error("read", shown, cause))? as u64;
    if read > cap { too_large(read) } else { Ok(bytes) }
}

/// Reads numbered lines, wherever the links of the path lead.
///
/// # Errors
/// When the request does not fit its limits, and those of [`open`].
pub fn read_lines(request: &ReadRequest) -> Result<Lines, WorkspaceError> {
    let bytes = whole(open_followed(&request.path)?, &request.path, request.caps.file_bytes)?;
    Ok(lines::read(&bytes, request)?)
}

/// Replaces a file whole, or makes it and its parent directories (0755). Atomic: it is written beside
/// `target` and renamed. No link is followed, see [`parent`]. The mode of a file that was there stays, and,
/// as far as the rights go, its owner.
///
/// # Errors
/// When `target` is something else than a file, or cannot be written.
pub fn replace(target: &Path, shown: &str, content: &[u8]) -> Result<(), WorkspaceError> {
    let failed = |cause| io_error("write", shown, cause);
    let (dir, name) = parent(target, shown, true)?;
    let before = match fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(meta) if SFlag::from_bits_truncate(meta.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG => {
            return Err(WorkspaceError::NotAFile(shown.to_owned()));
        }
        Ok(meta) => Some(meta),
        Err(Errno::ENOENT) => None,
        Err(errno) => return Err(failed(errno.into())),
    };
    let mode = before.map(|meta| meta.st_mode & 0o7777);
    // A private file must not be open to others for a moment: its mode stands from the first byte on.
    let first_mode = Mode::from_bits_truncate(mode.map_or(0o666, |mode| mode & 0o777));
    let temporary = format!(".chatd-{}.tmp", crate::ids::fresh_uuid());
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let written = fcntl::openat(&dir, temporary.as_str(), flags, first_mode)
        .map_err(io::Error::from)
        .and_then(|file| {
            let mut file = File::from(file);
            file.write_all(content)?;
            if let Some(meta) = before {
                // Only root can give a file back to somebody else; for others the new one is theirs.
                let _ = fchown(&file, Some(Uid::from_raw(meta.st_uid)), Some(Gid::from_raw(meta.st_gid)));
            }
            // What the process's mask has taken away.
            mode.map_or(Ok(()), |mode| file.set_permissions(Permissions::from_mode(mode)))
        })
        .and_then(|()| {
            fcntl::renameat(dir.as_fd(), temporary.as_str(), dir.as_fd(), name).map_err(Into::into)
        });
    written.map_err(|cause| {
        // The first failure is what the caller must hear; the file may not even exist.
        let _ = unlinkat(&dir, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        failed(cause)
    })
}
