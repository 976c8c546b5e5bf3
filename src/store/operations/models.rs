//! Operations on providers, keys and models: done, then told to every replica.

use super::*;
use crate::{
    bus::{ConfigPart, Notice},
    config::Secret,
    ids::{ModelConfigId, ProviderId},
    store::{
        records::models::{ModelRecord, ModelTables, NewKey, ProviderRecord, Removal, WantedKey},
        sealing::Keyring,
    },
};

operations! {
    /// Everything that a catalogue of models is made of.
    snapshot pub model_tables = models::tables() -> ModelTables;
    /// Makes a provider; announced below.
    write create_provider_rows = models::create_provider(keys: Keyring, provider: ProviderRecord, new_keys: Vec<NewKey>, one_of_kind: bool) -> ();
    /// Changes a provider; announced below.
    write change_provider_rows = models::change_provider(keys: Keyring, provider: ProviderRecord, seen: Timestamp, wanted: Option<Vec<WantedKey>>) -> ();
    /// Deletes a provider; announced below.
    write delete_provider_rows = models::delete_provider(id: ProviderId, now: Timestamp) -> Removal;
    /// Stores a user's key; announced below.
    write put_user_key_row = models::put_user_key(keys: Keyring, user: UserId, provider: ProviderId, secret: Secret, now: Timestamp) -> ();
    /// Removes a user's key; announced below.
    write delete_user_key_row = models::delete_user_key(user: UserId, provider: ProviderId) -> bool;
    /// Makes a model; announced below.
    write create_model_row = models::create_model(model: ModelRecord) -> ();
    /// Changes a model; announced below.
    write change_model_row = models::change_model(model: ModelRecord, seen: Timestamp) -> ();
    /// Moves the default; announced below.
    write set_default_model_row = models::set_default_model(id: ModelConfigId) -> ();
    /// Deletes a model; announced below.
    write delete_model_row = models::delete_model(id: ModelConfigId, now: Timestamp) -> ();
    /// Brings declared records in step; announced below.
    write sync_declared_rows = models::sync_declared(providers: Vec<ProviderRecord>, declared: Vec<ModelRecord>, now: Timestamp) -> bool;
}

impl Store {
    fn models_changed(&self) {
        self.bus().publish(Notice::Config { part: ConfigPart::Models });
    }

    /// Makes a provider with its keys. `one_of_kind` refuses a second one of its type.
    ///
    /// # Errors
    /// [`Error::Duplicate`] for a name (or type) that is taken.
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
    /// [`Error::Stale`] when it was changed meanwhile, [`Error::Duplicate`] for a name that
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
    /// [`Error::NotFound`].
    pub async fn delete_provider(&self, id: ProviderId, now: Timestamp) -> Result<Removal> {
        let done = self.delete_provider_rows(id, now).await?;
        self.models_changed();
        Ok(done)
    }

    /// Stores a user's key for a provider, in place of an earlier one.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a provider.
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
    /// [`Error::Duplicate`] for a second one of the same model of the same provider.
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
    /// [`Error::NotFound`].
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
