//! Which keys secrets are sealed with, and the change from one to the next.
//!
//! A rotation goes: a new key is written down, it becomes the one that seals, every value of another
//! key is re-sealed in bounded batches, and only then the other keys are dropped. Killed anywhere, the
//! next one goes on where this one stood.

use super::{
    Store,
    error::{Error, Result},
    sealing::{Column, KeyError, KeyId, Place},
};
use uuid::Uuid;

/// A key as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyState {
    /// Its name.
    pub id: KeyId,
    /// It seals new secrets.
    pub seals: bool,
    /// The file or variable holds it.
    pub listed: bool,
    /// Secrets that need it.
    pub secrets: i64,
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The key that seals now.
    pub key: KeyId,
    /// It went on with a rotation that was cut short, or that the operator began with a key of their own.
    pub resumed: bool,
    /// Secrets that were sealed anew.
    pub resealed: usize,
    /// Keys that nothing needs any more. They are out of the file; out of a variable the operator
    /// may take them.
    pub dropped: Vec<KeyId>,
}

/// Why a rotation ended early. What it did stays; the next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The keys cannot be read or written.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The database cannot be read or written.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Store {
    /// Makes sure that this process can open what is stored, and has a key to seal with: on a database
    /// that has never held a secret, the first process makes the key file.
    ///
    /// # Errors
    /// [`RotateError::Store`] with [`Error::Sealed`] when the key of the database is not at hand.
    pub async fn ready_keys(&self) -> Result<KeyId, RotateError> {
        if self.canary().await?.is_none() && self.keys().listed().is_empty() {
            self.keys().create()?;
        }
        Ok(self.check_keys(self.keys().clone()).await?)
    }

    /// The same for the only process on a database. Where nothing is sealed, as in a copy of a database
    /// that holds no secrets, a lost key is no loss: this process's own takes its place.
    ///
    /// # Errors
    /// As [`Store::ready_keys`].
    pub async fn ready_keys_alone(&self) -> Result<KeyId, RotateError> {
        match self.ready_keys().await {
            Err(RotateError::Store(Error::Sealed(why))) => {
                if !self.sealed_counts().await?.is_empty() {
                    return Err(Error::Sealed(why).into());
                }
                if self.keys().listed().is_empty() {
                    self.keys().create()?;
                }
                let newest = self.keys().listed().last().copied().ok_or(Error::Sealed(why))?;
                self.activate_key(self.keys().clone(), newest).await?;
                Ok(newest)
            }
            other => other,
        }
    }

    /// The same for one of several processes. Where nothing is sealed a replica without the keys of the others
    /// lacks nothing, and serves: it is told what it will not be able to do, and `None` is answered.
    ///
    /// # Errors
    /// As [`Store::ready_keys`].
    pub async fn ready_keys_among_others(&self) -> Result<Option<KeyId>, RotateError> {
        match self.ready_keys().await {
            Err(RotateError::Store(Error::Sealed(why))) => {
                if !self.sealed_counts().await?.is_empty() {
                    return Err(Error::Sealed(why).into());
                }
                tracing::warn!(
                    "this replica has not the encryption keys of the others: secrets cannot be stored through it, nor \
                     used by it once others have stored some; give all replicas the same keys \
                     (secrets.encryption_key_file or secrets.encryption_key_env)"
                );
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Every key that is listed or needed, oldest first; those that are not listed come last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn key_states(&self) -> Result<Vec<KeyState>> {
        let listed = self.keys().listed();
        let counts = self.sealed_counts().await?;
        let seals = self.canary().await?.and_then(|sealed| KeyId::of_sealed(&sealed));
        let mut all = listed.clone();
        for id in counts.iter().map(|(id, _)| *id).chain(seals) {
            if !all.contains(&id) {
                all.push(id);
            }
        }
        let secrets = |id| counts.iter().find(|(known, _)| *known == id).map_or(0, |(_, n)| *n);
        Ok(all
            .into_iter()
            .map(|id| KeyState {
                id,
                seals: seals == Some(id),
                listed: listed.contains(&id),
                secrets: secrets(id),
            })
            .collect())
    }

    /// Rotates the key, or goes on with a rotation that was cut short. Safe beside running daemons
    /// that read the same key file.
    ///
    /// # Errors
    /// See [`RotateError`].
    pub async fn rotate_keys(&self) -> Result<Rotated, RotateError> {
        let lock = self.keys().lock()?;
        let seals = self.ready_keys().await?;
        let listed = self.keys().listed();
        let newest = listed.last().copied();
        let behind = self.sealed_counts().await?.iter().any(|(id, n)| *id != seals && *n > 0);
        let (key, resumed) = match newest {
            // Written down, and not in use yet.
            Some(newest) if newest != seals => (newest, true),
            Some(newest) if behind => (newest, true),
            _ => (self.keys().append()?, false),
        };
        if key != seals {
            self.activate_key(self.keys().clone(), key).await?;
        }
        let mut resealed = 0;
        for column in Column::ALL {
            let mut after = Uuid::nil();
            while let (Some(last), changed) = self.reseal(self.keys().clone(), *column, after).await? {
                resealed += changed;
                after = last;
            }
        }
        let dropped = self.drop_unused(key).await?;
        drop(lock);
        Ok(Rotated { key, resumed, resealed, dropped })
    }

    /// Takes keys out of the file that nothing needs. With another key than the one that seals still in
    /// use (a value that could not be re-sealed), that one stays.
    async fn drop_unused(&self, seals: KeyId) -> Result<Vec<KeyId>, RotateError> {
        let in_use: Vec<KeyId> = self.sealed_counts().await?.into_iter().map(|(id, _)| id).collect();
        let listed = self.keys().listed();
        let (keep, dropped): (Vec<KeyId>, Vec<KeyId>) =
            listed.into_iter().partition(|id| *id == seals || in_use.contains(id));
        if !dropped.is_empty() && matches!(self.keys().place(), Place::File(_)) {
            self.keys().retain(&keep)?;
        }
        Ok(dropped)
    }
}
