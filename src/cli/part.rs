//! A file that a command writes: under its name only when it is whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A file under a name of its own until it is whole: half of one would look like a whole one. It is removed
/// when this is dropped; a kill leaves it, and its name says what it is.
pub struct Part {
    path: PathBuf,
}

impl Part {
    /// Makes it, empty, beside the file that it becomes; nobody but its owner can read it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn beside(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(ErrorKind::IsADirectory)?.to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}.part", std::process::id()));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, unless something has it.
    ///
    /// # Errors
    /// `AlreadyExists` when something has; what the system says otherwise.
    pub fn publish(self, target: &Path) -> io::Result<()> {
        match fs::hard_link(&self.path, target) {
            // Some file systems have one name for a file only.
            Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
                fs::rename(&self.path, target)?;
            }
            linked => linked?,
        }
        match target.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have its name by now, and no other.
        drop(fs::remove_file(&self.path));
    }
}
