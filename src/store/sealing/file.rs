//! The key file: one key a line, oldest first, `#` begins a comment. Replaced as a whole, so that a
//! reader sees all of the old one or all of the new one, whatever happens.

use super::{
    key::Key,
    keyring::{KeyError, parse},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};
use zeroize::Zeroizing;

const HEADER: &str = "# Keys of chatd's secrets in the database, oldest first. Whoever has this file and the\n\
                      # database can read them; without it nobody can. Keep a copy, apart from the database's.\n\
                      # `chatd keys rotate` adds a key and drops those that nothing needs any more.\n";

/// Tells whether a file is the one that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
}

pub fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some(Stamp { inode: meta.ino(), size: meta.len(), modified: meta.modified().ok() })
}

/// The keys of a file; none when there is no file.
pub fn read(path: &Path) -> Result<Vec<Key>, KeyError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(KeyError::File(path.to_owned(), e.to_string())),
    };
    parse(&text).map_err(|line| {
        KeyError::File(path.to_owned(), format!("line {line} is not a key: expected 32 bytes in base64"))
    })
}

/// Writes a new file in place of the old one, readable by its owner only.
pub fn write(path: &Path, keys: &[&Key]) -> Result<(), KeyError> {
    let fail = |e: io::Error| KeyError::File(path.to_owned(), e.to_string());
    let fresh = beside(path, "new");
    let result = fill(&fresh, keys).and_then(|()| fs::rename(&fresh, path));
    if result.is_err() {
        // Best effort: the next write replaces it as well.
        let _ = fs::remove_file(&fresh);
    }
    result.and_then(|()| sync_folder(path)).map_err(fail)
}

/// Makes the file unless there is one: of two processes that do so at once, the later one finds the
/// keys of the other.
pub fn create(path: &Path, keys: &[&Key]) -> Result<(), KeyError> {
    let fail = |e: io::Error| KeyError::File(path.to_owned(), e.to_string());
    let fresh = beside(path, &format!("new-{}", std::process::id()));
    let made = fill(&fresh, keys).and_then(|()| match fs::hard_link(&fresh, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = fs::remove_file(&fresh);
    made.and(removed).and_then(|()| sync_folder(path)).map_err(fail)
}

fn fill(path: &Path, keys: &[&Key]) -> io::Result<()> {
    let mut text = Zeroizing::new(HEADER.to_owned());
    for key in keys {
        text.push_str(&key.text());
        text.push('\n');
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// Keeps other rotations of this file out until it is dropped.
pub fn lock(path: &Path) -> Result<File, KeyError> {
    let path = beside(path, "lock");
    let fail = |e: String| KeyError::File(path.clone(), e);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| fail(e.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(fail("another rotation is at work".into())),
        Err(fs::TryLockError::Error(e)) => Err(fail(e.to_string())),
    }
}
