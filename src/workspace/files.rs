//! Files as tools read and replace them. Blocking; [`blocking`] runs it beside the asynchronous work.

use super::{
    WorkspaceError,
    lines::{self, Lines, ReadRefusal, ReadRequest},
};
use nix::fcntl::OFlag;
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
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

/// Opens a regular file and tells its size. `shown` is the path as it was asked for.
///
/// # Errors
/// When there is none, or it is something else.
pub fn open(path: &Path, shown: &str) -> Result<(File, u64), WorkspaceError> {
    let failed = |cause| io_error("open", shown, cause);
    // Without waiting: a pipe's opening would wait for its writer. Looked at after the opening,
    // what was looked at is what is read.
    let flags = OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_file() { Ok((file, meta.len())) } else { Err(WorkspaceError::NotAFile(shown.to_owned())) }
}

/// Reads a whole regular file of at most `cap` bytes.
///
/// # Errors
/// When it is larger, and those of [`open`].
pub fn read(path: &Path, shown: &str, cap: u64) -> Result<Vec<u8>, WorkspaceError> {
    let (file, size) = open(path, shown)?;
    let too_large = |size| Err(ReadRefusal::FileTooLarge { size, cap }.into());
    if size > cap {
        return too_large(size);
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    let read = file.take(cap.saturating_add(1)).read_to_end(&mut bytes);
    let read = read.map_err(|cause| io_error("read", shown, cause))? as u64;
    if read > cap { too_large(read) } else { Ok(bytes) }
}

/// Reads numbered lines; `path` is where the path of the request leads.
///
/// # Errors
/// When the request does not fit its limits, and those of [`open`].
pub fn read_lines(path: &Path, request: &ReadRequest) -> Result<Lines, WorkspaceError> {
    let bytes = read(path, &request.path, request.caps.file_bytes)?;
    Ok(lines::read(&bytes, request)?)
}

/// Replaces a file whole, or makes it and its parent directories (0755). Atomic: it is written beside
/// `target` and renamed; so a `target` that has become a link meanwhile is replaced, not followed.
/// The mode of a file that was there stays.
///
/// # Errors
/// When `target` is something else than a file, or cannot be written.
pub fn replace(target: &Path, shown: &str, content: &[u8]) -> Result<(), WorkspaceError> {
    let failed = |cause| io_error("write", shown, cause);
    let mode = match fs::symlink_metadata(target) {
        Ok(meta) if !meta.is_file() => return Err(WorkspaceError::NotAFile(shown.to_owned())),
        Ok(meta) => Some(meta.permissions()),
        Err(_) => None,
    };
    let parent = target.parent().ok_or_else(|| WorkspaceError::NotAFile(shown.to_owned()))?;
    DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
    let temporary = parent.join(format!(".chatd-{}.tmp", crate::ids::fresh_uuid()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    if let Some(mode) = &mode {
        // From the first byte on: a private file must not be open to others for a moment.
        options.mode(mode.mode() & 0o777);
    }
    let written = options
        .open(&temporary)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| mode.map_or(Ok(()), |mode| fs::set_permissions(&temporary, mode)))
        .and_then(|()| fs::rename(&temporary, target));
    written.map_err(|cause| {
        // The first failure is what the caller must hear; the file may not even exist.
        drop(fs::remove_file(&temporary));
        failed(cause)
    })
}
