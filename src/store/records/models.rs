//! Rows of providers, their keys, and models.

use crate::{
    chat::json::Json,
    clock::Timestamp,
    config::Secret,
    ids::{ModelConfigId, ProviderId, UserId},
};
use uuid::Uuid;

/// Who made a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Somebody through the API.
    Api,
    /// The configuration of the server; the API does not change it.
    Config,
}

/// A provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRecord {
    /// Id.
    pub id: ProviderId,
    /// Wire name of its type: `anthropic`, `openai-compat`, ….
    pub kind: String,
    /// Unique name.
    pub name: String,
    /// Shown to people.
    pub display_name: String,
    /// Address of an icon; may be empty.
    pub icon: String,
    /// False: its models cannot be used.
    pub enabled: bool,
    /// Another address than the vendor's.
    pub base_url: Option<String>,
    /// Its central keys may be used.
    pub central_api_key_enabled: bool,
    /// Users may bring keys of their own.
    pub allow_user_api_key: bool,
    /// Where users may bring keys: the central key serves those who brought none.
    pub allow_central_api_key_fallback: bool,
    /// Who made it.
    pub source: Source,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// A sealed central key of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderKeyRecord {
    /// Id, to which the value is bound.
    pub id: Uuid,
    /// Whose.
    pub provider_id: ProviderId,
    /// For [`crate::store::sealing::Keyring::open`].
    pub sealed: Vec<u8>,
    /// The key with all but its ends masked.
    pub hint: String,
    /// When it was made; the oldest key of a provider is used.
    pub created_at: Timestamp,
}

/// A sealed key that a user brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserKeyRecord {
    /// Id, to which the value is bound.
    pub id: Uuid,
    /// Whose.
    pub user_id: UserId,
    /// For which provider.
    pub provider_id: ProviderId,
    /// For [`crate::store::sealing::Keyring::open`].
    pub sealed: Vec<u8>,
}

/// A model that people can pick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRecord {
    /// Id.
    pub id: ModelConfigId,
    /// Who serves it.
    pub provider_id: ProviderId,
    /// Name in the configuration file.
    pub name: Option<String>,
    /// The provider's own name.
    pub model: String,
    /// Shown to people.
    pub display_name: String,
    /// False hides it and refuses its use.
    pub enabled: bool,
    /// Used where nobody picked one.
    pub is_default: bool,
    /// Tokens the model can read and write in one call.
    pub context_limit: i64,
    /// Percent of the context at which the history is compacted.
    pub compression_threshold: i64,
    /// The `model_config` object of api.md §2.11.
    pub model_config: Json,
    /// Who made it.
    pub source: Source,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// One consistent read of everything that a catalogue of models is made of, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelTables {
    /// Providers that are not deleted.
    pub providers: Vec<ProviderRecord>,
    /// Their keys.
    pub provider_keys: Vec<ProviderKeyRecord>,
    /// Keys of users.
    pub user_keys: Vec<UserKeyRecord>,
    /// Models that are not deleted.
    pub models: Vec<ModelRecord>,
}

/// A key to be stored.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The key.
    pub secret: Secret,
    /// The key with all but its ends masked.
    pub hint: String,
}

/// One entry of the wanted keys of a provider.
#[derive(Debug, Clone)]
pub enum WantedKey {
    /// A key that is there.
    Keep(Uuid),
    /// A new one.
    Add(NewKey),
}

/// What became of a write that another record may forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Done.
    Removed,
    /// Other records refer to it; nothing was written.
    InUse,
}
