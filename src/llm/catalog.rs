//! The models that people can pick and the providers that serve them: a snapshot of the database with
//! the keys that the configuration holds ([`live`] keeps it up to date).

mod declared;
pub mod live;

pub use declared::{model_id, model_record, provider_id, provider_record};
pub use live::LiveCatalog;

use crate::{
    config,
    ids::{ModelConfigId, ProviderId, UserId},
    llm::{
        Endpoint, Secret,
        failure::{Failure, FailureKind},
        model_config::CallConfig,
        providers::{self, Provider},
    },
    store::{
        records::models::{ModelRecord, ModelTables, ProviderKeyRecord, ProviderRecord, Source},
        sealing::{Column, Keyring},
    },
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};
use uuid::Uuid;

/// What the database does not hold.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// Keys of declared providers by name.
    pub keys: HashMap<String, config::Secret>,
    /// Addresses of the scripted models of this process by provider name.
    pub scripted: HashMap<String, String>,
    /// `secrets.allow_user_api_keys`.
    pub allow_user_api_keys: bool,
}

/// A provider.
#[derive(Debug)]
pub struct ProviderEntry {
    /// The record.
    pub record: ProviderRecord,
    /// Its stored keys, oldest first. Their values stay sealed.
    pub keys: Vec<ProviderKeyRecord>,
    /// Whether users may bring keys of their own, in this deployment and for this provider.
    pub byok: bool,
    central: Option<Secret>,
    user_keys: HashMap<UserId, (Uuid, Vec<u8>)>,
    keyring: Keyring,
    scripted: Option<String>,
}

/// A model.
#[derive(Debug)]
pub struct ModelEntry {
    /// The record.
    pub record: ModelRecord,
    /// Who serves it.
    pub provider: Arc<ProviderEntry>,
    /// Its `model_config`.
    pub call: CallConfig,
}

/// Why a model cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// There is none.
    #[error("there is no such model")]
    Unknown,
    /// It is switched off.
    #[error("the model is disabled")]
    Disabled,
    /// Its provider is switched off.
    #[error("the model's provider is disabled")]
    ProviderDisabled,
    /// Its provider needs a key and there is none.
    #[error("the model's provider has no API key; an administrator can add one")]
    MissingKey,
    /// Only a key of the user's own would help.
    #[error("the model's provider needs an API key of your own; add one in your settings")]
    UserKeyRequired,
}

/// A snapshot of everything.
#[derive(Debug, Default)]
pub struct Catalog {
    providers: Vec<Arc<ProviderEntry>>,
    models: Vec<Arc<ModelEntry>>,
    by_id: HashMap<ModelConfigId, usize>,
    default: Option<ModelConfigId>,
    allow_user_api_keys: bool,
}

impl ProviderEntry {
    /// Its type; `None` for one that this program does not know.
    #[must_use]
    pub fn kind(&self) -> Option<&'static Provider> {
        providers::lookup(&self.record.kind)
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> ProviderId {
        self.record.id
    }

    /// Whether the configuration declares it.
    #[must_use]
    pub fn is_declared(&self) -> bool {
        self.record.source == Source::Config
    }

    /// Whether a key means anything to it.
    #[must_use]
    pub fn takes_keys(&self) -> bool {
        self.record.kind != providers::SCRIPTED
    }

    /// Whether there is a central key, used or not.
    #[must_use]
    pub const fn has_central_key(&self) -> bool {
        self.central.is_some()
    }

    /// Whether a user has stored a key for it.
    #[must_use]
    pub fn has_user_key(&self, user: UserId) -> bool {
        self.user_keys.contains_key(&user)
    }

    /// Whether the central key serves users without a key of their own.
    #[must_use]
    pub fn central_serves(&self) -> bool {
        self.needs_no_own_key() && self.central.is_some()
    }

    /// Whether users may do without a key of their own: the administrator answers for them, by the central key or, where
    /// none is needed, without one.
    fn needs_no_own_key(&self) -> bool {
        self.record.central_api_key_enabled && (!self.byok || self.record.allow_central_api_key_fallback)
    }

    /// The key to call it with for a user (workspace-and-providers.md §6.3): the user's own, else the
    /// central one, else none if it needs none.
    ///
    /// # Errors
    /// Why it cannot be called.
    pub fn credential(&self, user: UserId) -> Result<Option<Secret>, Unusable> {
        if !self.record.enabled {
            return Err(Unusable::ProviderDisabled);
        }
        if let Some((row, sealed)) = self.user_keys.get(&user).filter(|_| self.byok) {
            return match self.keyring.open(Column::UserProviderKey, *row, sealed) {
                Ok(key) => Ok(Some(Secret::new(key.expose()))),
                Err(e) => {
                    tracing::error!(provider = self.record.name, error = %e, "a user's key cannot be opened");
                    Err(Unusable::UserKeyRequired)
                }
            };
        }
        if self.central_serves() {
            return Ok(self.central.clone());
        }
        self.without_key()
    }

    /// The same without opening anything.
    ///
    /// # Errors
    /// Why it cannot be called.
    pub fn usable_by(&self, user: UserId) -> Result<(), Unusable> {
        if !self.record.enabled {
            return Err(Unusable::ProviderDisabled);
        }
        if (self.byok && self.has_user_key(user)) || self.central_serves() {
            return Ok(());
        }
        self.without_key().map(|_| ())
    }

    fn without_key(&self) -> Result<Option<Secret>, Unusable> {
        if self.needs_no_own_key() && !self.kind().is_some_and(|k| k.key_required) {
            Ok(None)
        } else if self.byok {
            Err(Unusable::UserKeyRequired)
        } else {
            Err(Unusable::MissingKey)
        }
    }
}

impl Catalog {
    /// Puts a snapshot together. A model whose provider is gone is left out.
    #[must_use]
    pub fn build(tables: ModelTables, outside: &Outside, keyring: &Keyring) -> Self {
        let mut keys: HashMap<ProviderId, Vec<ProviderKeyRecord>> = HashMap::new();
        for key in tables.provider_keys {
            keys.entry(key.provider_id).or_default().push(key);
        }
        let mut user_keys: HashMap<ProviderId, HashMap<UserId, (Uuid, Vec<u8>)>> = HashMap::new();
        for key in tables.user_keys {
            user_keys.entry(key.provider_id).or_default().insert(key.user_id, (key.id, key.sealed));
        }
        let providers: Vec<_> = tables
            .providers
            .into_iter()
            .map(|record| {
                let keys = keys.remove(&record.id).unwrap_or_default();
                let user_keys = user_keys.remove(&record.id).unwrap_or_default();
                Arc::new(provider(record, keys, user_keys, outside, keyring))
            })
            .collect();
        let models: Vec<_> = tables
            .models
            .into_iter()
            .filter_map(|record| {
                let provider = providers.iter().find(|p| p.id() == record.provider_id)?;
                let call = CallConfig::read(&record.model_config).unwrap_or_else(|e| {
                    tracing::error!(model = %record.id, error = %e, "a model's options cannot be read");
                    CallConfig::default()
                });
                Some(Arc::new(ModelEntry { provider: Arc::clone(provider), call, record }))
            })
            .collect();
        let by_id = models.iter().enumerate().map(|(at, m)| (m.record.id, at)).collect();
        let offered = || models.iter().filter(|m| m.is_offered());
        let default =
            offered().find(|m| m.record.is_default).or_else(|| offered().next()).map(|m| m.record.id);
        Self { providers, models, by_id, default, allow_user_api_keys: outside.allow_user_api_keys }
    }

    /// Every model, oldest first.
    #[must_use]
    pub fn models(&self) -> &[Arc<ModelEntry>] {
        &self.models
    }

    /// Every provider, oldest first.
    #[must_use]
    pub fn providers(&self) -> &[Arc<ProviderEntry>] {
        &self.providers
    }

    /// A provider by id.
    #[must_use]
    pub fn provider(&self, id: ProviderId) -> Option<&Arc<ProviderEntry>> {
        self.providers.iter().find(|p| p.id() == id)
    }

    /// A provider by its unique name.
    #[must_use]
    pub fn provider_named(&self, name: &str) -> Option<&Arc<ProviderEntry>> {
        self.providers.iter().find(|p| p.record.name == name)
    }

    /// The provider that a type stands for: the oldest that the user can use, else the oldest.
    #[must_use]
    pub fn provider_of_kind(&self, kind: &str, user: UserId) -> Option<&Arc<ProviderEntry>> {
        let of_kind = || self.providers.iter().filter(|p| p.record.kind == kind);
        of_kind().find(|p| p.usable_by(user).is_ok()).or_else(|| of_kind().next())
    }

    /// Whether users may bring keys of their own in this deployment.
    #[must_use]
    pub const fn allows_user_keys(&self) -> bool {
        self.allow_user_api_keys
    }

    /// A model by id, usable or not.
    #[must_use]
    pub fn model(&self, id: ModelConfigId) -> Option<&Arc<ModelEntry>> {
        self.by_id.get(&id).and_then(|at| self.models.get(*at))
    }

    /// A model that can be called now for a user.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn usable(&self, id: ModelConfigId, user: UserId) -> Result<&Arc<ModelEntry>, Unusable> {
        let model = self.model(id).ok_or(Unusable::Unknown)?;
        model.usable_by(user).map(|()| model)
    }

    /// The models that a user could pick now.
    pub fn offered_to(&self, user: UserId) -> impl Iterator<Item = &Arc<ModelEntry>> {
        // Which providers are usable is asked once each.
        let usable: HashSet<ProviderId> =
            self.providers.iter().filter(|p| p.usable_by(user).is_ok()).map(|p| p.id()).collect();
        self.models.iter().filter(move |m| m.is_offered() && usable.contains(&m.provider.id()))
    }

    /// The model for those who pick none: the one marked as default, else the first that is offered.
    #[must_use]
    pub fn default_model(&self) -> Option<&Arc<ModelEntry>> {
        self.default.and_then(|id| self.model(id))
    }

    /// The model of a chat: its own, else the default when its own is gone.
    #[must_use]
    pub fn model_or_default(&self, id: ModelConfigId) -> Option<&Arc<ModelEntry>> {
        self.model(id).or_else(|| self.default_model())
    }
}

fn provider(
    record: ProviderRecord,
    keys: Vec<ProviderKeyRecord>,
    user_keys: HashMap<UserId, (Uuid, Vec<u8>)>,
    outside: &Outside,
    keyring: &Keyring,
) -> ProviderEntry {
    let declared = outside.keys.get(&record.name).filter(|_| record.source == Source::Config);
    let stored = || {
        keys.iter().find_map(|key| match keyring.open(Column::ProviderKey, key.id, &key.sealed) {
            Ok(key) => Some(Secret::new(key.expose())).filter(|key| !key.is_blank()),
            Err(e) => {
                tracing::error!(provider = record.name, error = %e, "a key cannot be opened");
                None
            }
        })
    };
    ProviderEntry {
        central: declared.map(|key| Secret::new(key.expose())).or_else(stored),
        byok: outside.allow_user_api_keys && record.allow_user_api_key,
        scripted: outside.scripted.get(&record.name).cloned(),
        keys,
        user_keys,
        keyring: keyring.clone(),
        record,
    }
}

impl ModelEntry {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> ModelConfigId {
        self.record.id
    }

    /// What people see.
    #[must_use]
    pub fn display_name(&self) -> &str {
        if self.record.display_name.is_empty() { &self.record.model } else { &self.record.display_name }
    }

    /// Whether the configuration declares it.
    #[must_use]
    pub fn is_declared(&self) -> bool {
        self.record.source == Source::Config
    }

    /// Whether people see it: it and its provider are enabled.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.record.enabled && self.provider.record.enabled
    }

    /// Whether it can be called for a user.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn usable_by(&self, user: UserId) -> Result<(), Unusable> {
        if self.record.enabled { self.provider.usable_by(user) } else { Err(Unusable::Disabled) }
    }

    /// Where and how it is called for a user.
    ///
    /// # Errors
    /// `provider_disabled`, `missing_key` or `config` when it cannot be called now.
    pub fn endpoint(&self, user: UserId) -> Result<Endpoint, Failure> {
        let provider = &self.provider;
        let Some(kind) = provider.kind() else {
            let message = format!("Providers of the type {} are not supported.", provider.record.kind);
            return Err(self.failure(FailureKind::Config, message));
        };
        let name = kind.display_name;
        let key = provider.credential(user).map_err(|why| match why {
            Unusable::ProviderDisabled => {
                let message = format!("{name} is disabled. Contact an administrator, or choose another model.");
                self.failure(FailureKind::ProviderDisabled, message)
            }
            Unusable::UserKeyRequired => {
                let message = format!(
                    "There is no API key for {name}. Add one of your own in your settings and send the message again."
                );
                self.failure(FailureKind::MissingKey, message)
            }
            Unusable::MissingKey | Unusable::Unknown | Unusable::Disabled => {
                let message = format!(
                    "There is no API key for {name}. Ask an administrator to add one, then send the message again."
                );
                self.failure(FailureKind::MissingKey, message)
            }
        })?;
        let address = provider.record.base_url.as_deref().or(provider.scripted.as_deref());
        kind.endpoint(address, key, self.call.use_responses_api.unwrap_or(true))
    }

    fn failure(&self, kind: FailureKind, message: String) -> Failure {
        Failure {
            kind,
            retryable: false,
            message,
            detail: None,
            provider: self.provider.record.kind.clone(),
            status_code: None,
            retry_after: None,
            chain_broken: false,
        }
    }
}

#[cfg(test)]
mod tests;
