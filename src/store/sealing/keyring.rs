//! The keys that this process knows, and where they come from.

use super::{
    Column, KeyId, file,
    key::{Bound, Key, fresh_text},
};
use crate::{config::Secret, store::error::Error};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file cannot be read or written.
    #[error("the key file {path}: {1}", path = .0.display())]
    File(PathBuf, String),
    /// A variable holds something else than keys.
    #[error(
        "the environment variable {0} holds no keys: expected 32 bytes in base64, as `chatd keys generate` prints them, several with spaces between"
    )]
    Variable(String),
    /// The keys are given by a variable, which only the operator can change.
    #[error(
        "the keys come from {0}: add a fresh one at its end (`chatd keys generate` prints one), restart every replica, and run `chatd keys rotate` again"
    )]
    ReadOnly(Place),
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: nothing can be sealed.
    Nowhere,
    /// An environment variable of this name.
    Variable(String),
    /// A file.
    File(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nowhere => f.write_str("no key file"),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The keys of this process. Cloning shares them.
///
/// A key that was known stays known for the life of the process, so that what was read before a
/// rotation ended can still be opened after it.
#[derive(Debug, Clone)]
pub struct Keyring(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    ring: RwLock<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    known: Vec<Arc<Key>>,
    /// What the place holds now, oldest first.
    listed: Vec<KeyId>,
    stamp: Option<file::Stamp>,
}

impl Ring {
    fn take(&mut self, keys: Vec<Key>) {
        self.listed = keys.iter().map(Key::id).collect();
        for key in keys {
            if !self.known.iter().any(|k| k.id() == key.id()) {
                self.known.push(Arc::new(key));
            }
        }
    }
}

/// The keys of a text: separated by white space or commas, lines that begin with `#` left out.
///
/// # Errors
/// The number of the first line with something else.
pub fn parse(text: &str) -> Result<Vec<Key>, usize> {
    let mut keys: Vec<Key> = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#')) {
        for word in line.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()) {
            let key = Key::parse(word).ok_or(at + 1)?;
            if !keys.iter().any(|k| k.id() == key.id()) {
                keys.push(key);
            }
        }
    }
    Ok(keys)
}

impl Keyring {
    /// No keys: for commands that neither seal nor open.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new(Inner { place: Place::Nowhere, ring: RwLock::default() }))
    }

    /// The keys of a file, which need not exist yet.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else than keys.
    pub fn file(path: &Path) -> Result<Self, KeyError> {
        let ring = Ring::default();
        let keyring = Self(Arc::new(Inner { place: Place::File(path.to_owned()), ring: RwLock::new(ring) }));
        keyring.read_again()?;
        Ok(keyring)
    }

    /// The keys of an environment variable, oldest first.
    ///
    /// # Errors
    /// When it holds something else, or nothing.
    pub fn variable(name: &str, value: &Secret) -> Result<Self, KeyError> {
        let keys = parse(value.expose()).map_err(|_| KeyError::Variable(name.to_owned()))?;
        if keys.is_empty() {
            return Err(KeyError::Variable(name.to_owned()));
        }
        let mut ring = Ring::default();
        ring.take(keys);
        Ok(Self(Arc::new(Inner { place: Place::Variable(name.to_owned()), ring: RwLock::new(ring) })))
    }

    /// Where they come from.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// The keys that the place holds, oldest first.
    #[must_use]
    pub fn listed(&self) -> Vec<KeyId> {
        self.with(|ring| ring.listed.clone())
    }

    /// Makes the key file with a first key, unless it is there.
    ///
    /// # Errors
    /// When it cannot be written, or the keys come from elsewhere.
    pub fn create(&self) -> Result<(), KeyError> {
        let path = self.path()?;
        file::create(path, &[&fresh()])?;
        self.read_again()
    }

    /// Adds a fresh key to the file and answers its id. It is not used before a rotation says so.
    ///
    /// # Errors
    /// As [`Keyring::create`].
    pub fn append(&self) -> Result<KeyId, KeyError> {
        let path = self.path()?;
        let mut keys = file::read(path)?;
        keys.push(fresh());
        file::write(path, &keys.iter().collect::<Vec<_>>())?;
        let id = keys.last().map(Key::id);
        self.read_again()?;
        id.ok_or_else(|| KeyError::File(path.to_owned(), "the new key was not written".into()))
    }

    /// Drops every key from the file that is not among these.
    ///
    /// # Errors
    /// As [`Keyring::create`].
    pub fn retain(&self, keep: &[KeyId]) -> Result<(), KeyError> {
        let path = self.path()?;
        let keys = file::read(path)?;
        file::write(path, &keys.iter().filter(|key| keep.contains(&key.id())).collect::<Vec<_>>())?;
        self.read_again()
    }

    /// Keeps other rotations of the file out until the answer is dropped. Keys of a variable need no
    /// lock: nothing is written.
    ///
    /// # Errors
    /// When another one is at work.
    pub fn lock(&self) -> Result<Option<File>, KeyError> {
        match self.place() {
            Place::File(path) => file::lock(path).map(Some),
            _ => Ok(None),
        }
    }

    fn path(&self) -> Result<&Path, KeyError> {
        match self.place() {
            Place::File(path) => Ok(path),
            other => Err(KeyError::ReadOnly(other.clone())),
        }
    }

    fn read_again(&self) -> Result<(), KeyError> {
        let Place::File(path) = self.place() else { return Ok(()) };
        let stamp = file::stamp(path);
        let keys = file::read(path)?;
        let mut ring = self.0.ring.write().unwrap_or_else(PoisonError::into_inner);
        ring.take(keys);
        ring.stamp = stamp;
        Ok(())
    }

    fn with<R>(&self, look: impl FnOnce(&Ring) -> R) -> R {
        look(&self.0.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A key by id. An id that is not known sends this to the file, if that has changed: another
    /// process may have rotated.
    fn find(&self, id: KeyId) -> Option<Arc<Key>> {
        let known = || self.with(|ring| ring.known.iter().find(|key| key.id() == id).cloned());
        known().or_else(|| {
            let Place::File(path) = self.place() else { return None };
            if self.with(|ring| ring.stamp.is_some() && ring.stamp == file::stamp(path)) {
                return None;
            }
            if let Err(e) = self.read_again() {
                tracing::error!(error = %e, "the keys of the stored secrets cannot be read again");
            }
            known()
        })
    }

    /// Whether the key is known, after another look at the file if need be.
    #[must_use]
    pub fn has(&self, id: KeyId) -> bool {
        self.find(id).is_some()
    }

    fn missing(&self, id: KeyId) -> Error {
        Error::Sealed(format!(
            "a stored secret is sealed with the key {id}, which is not in {}; put it back there, \
             or give this replica the keys of the others (secrets.encryption_key_file)",
            self.place()
        ))
    }

    pub(in crate::store) fn seal(&self, with: KeyId, place: &Bound, clear: &[u8]) -> Result<Vec<u8>, Error> {
        let key = self.find(with).ok_or_else(|| self.missing(with))?;
        key.seal(place, clear).ok_or_else(|| Error::Sealed("a secret is too large to be sealed".into()))
    }

    pub(in crate::store) fn open_bytes(
        &self,
        place: &Bound,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let damaged = || Error::Sealed(format!("a stored secret ({place:?}) is damaged"));
        let id = KeyId::of_sealed(sealed).ok_or_else(damaged)?;
        let key = self.find(id).ok_or_else(|| self.missing(id))?;
        key.open(place, sealed).ok_or_else(damaged)
    }

    /// Opens what was sealed for this row of this column.
    ///
    /// # Errors
    /// [`Error::Sealed`] when its key is not known, or it was changed or moved.
    pub fn open(&self, column: Column, row: Uuid, sealed: &[u8]) -> Result<Secret, Error> {
        let clear = self.open_bytes(&Bound::Row(column, row), sealed)?;
        let text = std::str::from_utf8(&clear)
            .map_err(|_| Error::Sealed(format!("a stored secret ({column:?}) is no text")))?;
        Ok(Secret::new(text))
    }
}

fn fresh() -> Key {
    Key::parse(&fresh_text()).expect("a fresh key can be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const PLACE: Bound = Bound::Row(Column::ProviderKey, Uuid::nil());

    #[test]
    fn a_key_file_is_made_once_for_its_owner_only_and_read_again_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let (a, b) = (Keyring::file(&path).unwrap(), Keyring::file(&path).unwrap());
        assert!(a.listed().is_empty());
        a.create().unwrap();
        b.create().unwrap();
        assert_eq!(a.listed(), b.listed());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let first = a.listed()[0];
        let second = a.append().unwrap();
        assert_eq!(a.listed(), [first, second]);
        let sealed = a.seal(second, &PLACE, b"x").unwrap();
        assert_eq!(b.listed(), [first], "not read yet");
        assert_eq!(b.open(Column::ProviderKey, Uuid::nil(), &sealed).unwrap().expose(), "x");
        assert_eq!(b.listed(), [first, second]);
        let old = b.seal(first, &PLACE, b"y").unwrap();
        a.retain(&[second]).unwrap();
        assert_eq!(a.listed(), [second]);
        assert_eq!(a.open(Column::ProviderKey, Uuid::nil(), &old).unwrap().expose(), "y", "still known");
        let fresh = Keyring::file(&path).unwrap();
        let e = fresh.open(Column::ProviderKey, Uuid::nil(), &old).unwrap_err().to_string();
        assert!(e.contains(&first.to_string()) && e.contains("keys"), "{e}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(names, ["keys"], "nothing is left behind");
    }

    #[test]
    fn two_rotations_of_one_file_exclude_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let ring = Keyring::file(&folder.path().join("keys")).unwrap();
        let held = ring.lock().unwrap();
        assert!(ring.lock().unwrap_err().to_string().contains("another rotation"));
        drop(held);
        ring.lock().unwrap();
    }

    #[test]
    fn keys_of_a_variable_cannot_be_changed_from_here() {
        let text = format!("{} ,\n{}", *fresh_text(), *fresh_text());
        let ring = Keyring::variable("KEYS", &Secret::new(text.clone())).unwrap();
        assert_eq!(ring.listed().len(), 2);
        assert!(ring.append().unwrap_err().to_string().contains("KEYS"));
        assert!(!format!("{ring:?}").contains(text.split(' ').next().unwrap()));
        for bad in ["nonsense", "# only a comment"] {
            let e = Keyring::variable("KEYS", &Secret::new(bad)).unwrap_err().to_string();
            assert!(e.contains("KEYS") && !e.contains(bad), "{e}");
        }
    }

    #[test]
    fn a_file_with_something_else_in_it_is_told_by_line_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, format!("# keys\n{}\nhunter2\n", *fresh_text())).unwrap();
        let e = Keyring::file(&path).unwrap_err().to_string();
        assert!(e.contains("line 3") && !e.contains("hunter2"), "{e}");
    }
}
