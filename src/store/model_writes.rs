//! Writes of providers, keys and models: done, then told to every replica.

use super::{
    Result, Store,
    records::models::{ModelRecord, NewKey, ProviderRecord, Removal, WantedKey},
};
use crate::{
    bus::{ConfigPart, Notice},
    clock::Timestamp,
    config::Secret,
    ids::{ModelConfigId, ProviderId, UserId},
};

impl Store {
    fn models_changed(&self) {
        self.bus().publish(Notice::Config { part: ConfigPart::Models });
    }

    /// Makes a provider with its keys. `one_of_kind` refuses a second one of its type.
    ///
    /// # Errors
    /// [`super::Error::Duplicate`] for a name (or type) that is taken.
    pub async fn create_provider(
        &self,
        provider: ProviderRecord,
        new_keys: Vec<NewKey>,
        one_of_kind: bool,
    ) -> Result<()> {
        self.create_provider_rows(self.keys().clone(), provider, new_keys, one_of_kind).await?;
        self.models_changed();
        Ok(())
    }

    /// Writes a provider as it shall be, unless it was changed since `seen`. `wanted` is the full list of
    /// its keys; `None` keeps them.
    ///
    /// # Errors
    /// [`super::Error::Stale`] when it was changed meanwhile, [`super::Error::Duplicate`] for a name that
    /// is taken.
    pub async fn change_provider(
        &self,
        provider: ProviderRecord,
        seen: Timestamp,
        wanted: Option<Vec<WantedKey>>,
    ) -> Result<()> {
        self.change_provider_rows(self.keys().clone(), provider, seen, wanted).await?;
        self.models_changed();
        Ok(())
    }

    /// Deletes a provider and every key for it, unless a model refers to it.
    ///
    /// # Errors
    /// [`super::Error::NotFound`].
    pub async fn delete_provider(&self, id: ProviderId, now: Timestamp) -> Result<Removal> {
        let done = self.delete_provider_rows(id, now).await?;
        self.models_changed();
        Ok(done)
    }

    /// Stores a user's key for a provider, in place of an earlier one.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] without such a provider.
    pub async fn put_user_key(
        &self,
        user: UserId,
        provider: ProviderId,
        secret: Secret,
        now: Timestamp,
    ) -> Result<()> {
        self.put_user_key_row(self.keys().clone(), user, provider, secret, now).await?;
        self.models_changed();
        Ok(())
    }

    /// Removes a user's key; whether there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_user_key(&self, user: UserId, provider: ProviderId) -> Result<bool> {
        let there = self.delete_user_key_row(user, provider).await?;
        self.models_changed();
        Ok(there)
    }

    /// Makes a model.
    ///
    /// # Errors
    /// [`super::Error::Duplicate`] for a second one of the same model of the same provider.
    pub async fn create_model(&self, model: ModelRecord) -> Result<()> {
        self.create_model_row(model).await?;
        self.models_changed();
        Ok(())
    }

    /// Writes a model as it shall be, unless it was changed since `seen`.
    ///
    /// # Errors
    /// As [`Store::change_provider`].
    pub async fn change_model(&self, model: ModelRecord, seen: Timestamp) -> Result<()> {
        self.change_model_row(model, seen).await?;
        self.models_changed();
        Ok(())
    }

    /// Moves the default flag to this model, which must be enabled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_default_model(&self, id: ModelConfigId) -> Result<()> {
        self.set_default_model_row(id).await?;
        self.models_changed();
        Ok(())
    }

    /// Deletes a model. Chats keep its id.
    ///
    /// # Errors
    /// [`super::Error::NotFound`].
    pub async fn delete_model(&self, id: ModelConfigId, now: Timestamp) -> Result<()> {
        self.delete_model_row(id, now).await?;
        self.models_changed();
        Ok(())
    }

    /// Brings the records of the configuration in step with it, under a lock.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sync_declared(
        &self,
        providers: Vec<ProviderRecord>,
        models: Vec<ModelRecord>,
        now: Timestamp,
    ) -> Result<()> {
        if self.sync_declared_rows(providers, models, now).await? {
            self.models_changed();
        }
        Ok(())
    }
}
