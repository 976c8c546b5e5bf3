//! What was asked in vain last, so that it is not asked again at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Remembers one thing.
#[derive(Debug)]
pub struct InVain<T>(Mutex<Option<T>>);

impl<T> Default for InVain<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> InVain<T> {
    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered.
    #[must_use]
    pub fn last(&self) -> Option<T> {
        self.lock().clone()
    }

    /// Remembers this instead.
    pub fn remember(&self, what: T) {
        *self.lock() = Some(what);
    }

    /// It may be asked again.
    pub fn forget(&self) {
        *self.lock() = None;
    }
}
