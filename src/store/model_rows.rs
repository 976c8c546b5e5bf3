//! Diesel's view of providers, keys and models.

use super::{
    error::Error,
    records::models::{ModelRecord, ProviderKeyRecord, ProviderRecord, Source, UserKeyRecord},
    schema::{ai_provider_keys, ai_providers, model_configs, user_provider_keys},
    types::{Id, Raw, Ts},
};
use crate::ids::{ModelConfigId, ProviderId, UserId};
use diesel::{
    Selectable,
    prelude::{AsChangeset, Identifiable, Insertable, Queryable},
};

pub(super) const fn source_name(source: Source) -> &'static str {
    match source {
        Source::Api => "api",
        Source::Config => "config",
    }
}

pub(super) fn source_of(text: &str) -> Result<Source, Error> {
    [Source::Api, Source::Config]
        .into_iter()
        .find(|s| source_name(*s) == text)
        .ok_or_else(|| Error::Corrupt(format!("record source {text:?}")))
}

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset, Identifiable)]
#[diesel(table_name = ai_providers, treat_none_as_null = true)]
pub(super) struct ProviderRow {
    pub id: Id,
    #[diesel(column_name = type_)]
    pub kind: String,
    pub name: String,
    pub display_name: String,
    pub icon: String,
    pub enabled: bool,
    pub base_url: Option<String>,
    pub central_api_key_enabled: bool,
    pub allow_user_api_key: bool,
    pub allow_central_api_key_fallback: bool,
    pub source: String,
    pub deleted: bool,
    pub created_at: Ts,
    pub updated_at: Ts,
}

impl ProviderRow {
    pub fn new(r: ProviderRecord, deleted: bool) -> Self {
        Self {
            id: Id(r.id.0),
            kind: r.kind,
            name: r.name,
            display_name: r.display_name,
            icon: r.icon,
            enabled: r.enabled,
            base_url: r.base_url,
            central_api_key_enabled: r.central_api_key_enabled,
            allow_user_api_key: r.allow_user_api_key,
            allow_central_api_key_fallback: r.allow_central_api_key_fallback,
            source: source_name(r.source).into(),
            deleted,
            created_at: Ts(r.created_at),
            updated_at: Ts(r.updated_at),
        }
    }

    pub fn record(self) -> Result<ProviderRecord, Error> {
        Ok(ProviderRecord {
            id: ProviderId(self.id.0),
            kind: self.kind,
            name: self.name,
            display_name: self.display_name,
            icon: self.icon,
            enabled: self.enabled,
            base_url: self.base_url,
            central_api_key_enabled: self.central_api_key_enabled,
            allow_user_api_key: self.allow_user_api_key,
            allow_central_api_key_fallback: self.allow_central_api_key_fallback,
            source: source_of(&self.source)?,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
        })
    }
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = ai_provider_keys)]
pub(super) struct KeyRow {
    pub id: Id,
    pub provider_id: Id,
    pub api_key: Vec<u8>,
    pub hint: String,
    pub created_at: Ts,
}

impl From<KeyRow> for ProviderKeyRecord {
    fn from(r: KeyRow) -> Self {
        Self {
            id: r.id.0,
            provider_id: ProviderId(r.provider_id.0),
            sealed: r.api_key,
            hint: r.hint,
            created_at: r.created_at.0,
        }
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = user_provider_keys)]
pub(super) struct UserKeyRow {
    pub id: Id,
    pub user_id: Id,
    pub provider_id: Id,
    pub api_key: Vec<u8>,
}

impl From<UserKeyRow> for UserKeyRecord {
    fn from(r: UserKeyRow) -> Self {
        Self {
            id: r.id.0,
            user_id: UserId(r.user_id.0),
            provider_id: ProviderId(r.provider_id.0),
            sealed: r.api_key,
        }
    }
}

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset, Identifiable)]
#[diesel(table_name = model_configs, treat_none_as_null = true)]
pub(super) struct ModelRow {
    pub id: Id,
    pub provider_id: Id,
    pub name: Option<String>,
    pub model: String,
    pub display_name: String,
    pub enabled: bool,
    pub is_default: bool,
    pub context_limit: i64,
    pub compression_threshold: i64,
    pub model_config: Raw,
    pub source: String,
    pub deleted: bool,
    pub created_at: Ts,
    pub updated_at: Ts,
}

impl ModelRow {
    pub const fn source_name(source: Source) -> &'static str {
        source_name(source)
    }

    pub fn new(r: ModelRecord, deleted: bool) -> Self {
        Self {
            id: Id(r.id.0),
            provider_id: Id(r.provider_id.0),
            name: r.name,
            model: r.model,
            display_name: r.display_name,
            enabled: r.enabled,
            is_default: r.is_default,
            context_limit: r.context_limit,
            compression_threshold: r.compression_threshold,
            model_config: Raw(r.model_config),
            source: source_name(r.source).into(),
            deleted,
            created_at: Ts(r.created_at),
            updated_at: Ts(r.updated_at),
        }
    }

    pub fn record(self) -> Result<ModelRecord, Error> {
        Ok(ModelRecord {
            id: ModelConfigId(self.id.0),
            provider_id: ProviderId(self.provider_id.0),
            name: self.name,
            model: self.model,
            display_name: self.display_name,
            enabled: self.enabled,
            is_default: self.is_default,
            context_limit: self.context_limit,
            compression_threshold: self.compression_threshold,
            model_config: self.model_config.0,
            source: source_of(&self.source)?,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
        })
    }
}
