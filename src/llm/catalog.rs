//! The models that people can pick and the providers that serve them, as the configuration declares
//! them.
//!
//! Ids are derived from names, so that they are the same after a restart and on every replica.

use crate::{
    clock::Timestamp,
    config::{
        models::Model,
        providers::{Provider, ProviderKind},
    },
    ids::{ModelConfigId, ProviderId},
    llm::{
        Endpoint, Secret,
        failure::{Failure, FailureKind},
        providers,
    },
};
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

/// Namespace of derived ids: a random UUID, fixed for ever.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d0f_4a58_3c1e_4b7b_9a45_2f8e_b0c7_71d3);

/// A provider that is declared.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderEntry {
    /// Its id.
    pub id: ProviderId,
    /// What the configuration says.
    pub spec: Provider,
}

/// A model that is declared.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelEntry {
    /// Its id.
    pub id: ModelConfigId,
    /// Who serves it.
    pub provider: Arc<ProviderEntry>,
    /// What the configuration says.
    pub spec: Model,
    /// Percent of the context at which a history is compacted; 100 = never.
    pub compaction_threshold: u8,
}

/// Why a model cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Nobody declared it.
    #[error("there is no such model")]
    Unknown,
    /// It is switched off.
    #[error("the model is disabled")]
    Disabled,
    /// Its provider is switched off.
    #[error("the model's provider is disabled")]
    ProviderDisabled,
    /// Its provider needs a key and there is none.
    #[error("the model's provider has no API key")]
    MissingKey,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    providers: Vec<Arc<ProviderEntry>>,
    models: Vec<Arc<ModelEntry>>,
    by_id: HashMap<ModelConfigId, usize>,
    default: Option<ModelConfigId>,
    declared_at: Option<Timestamp>,
}

/// The id of the provider of this name.
#[must_use]
pub fn provider_id(name: &str) -> ProviderId {
    ProviderId(Uuid::new_v5(&NAMESPACE, format!("provider/{name}").as_bytes()))
}

/// The id of the model of this name.
#[must_use]
pub fn model_id(name: &str) -> ModelConfigId {
    ModelConfigId(Uuid::new_v5(&NAMESPACE, format!("model/{name}").as_bytes()))
}

/// The type's name on the wire (api.md §2.12).
#[must_use]
pub fn wire_name(kind: ProviderKind) -> &'static str {
    providers::lookup(kind.as_str()).map_or(kind.as_str(), |p| p.name)
}

/// Whether providers of this type answer nobody without a key.
#[must_use]
pub fn needs_key(kind: ProviderKind) -> bool {
    providers::lookup(kind.as_str()).is_some_and(|p| p.key_required)
}

impl ProviderEntry {
    /// Whether it can be called at all.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn usable(&self) -> Result<(), Unusable> {
        if !self.spec.enabled {
            Err(Unusable::ProviderDisabled)
        } else if self.spec.key.is_none() && needs_key(self.spec.kind) {
            Err(Unusable::MissingKey)
        } else {
            Ok(())
        }
    }
}

impl Catalog {
    /// What the configuration declares. A model whose provider is not declared is left out: the
    /// check of the configuration has refused it before.
    #[must_use]
    pub fn new(
        providers: &[Provider],
        models: &[Model],
        compaction_threshold: u8,
        declared_at: Timestamp,
    ) -> Self {
        let providers: Vec<_> = providers
            .iter()
            .map(|spec| Arc::new(ProviderEntry { id: provider_id(&spec.name), spec: spec.clone() }))
            .collect();
        let models: Vec<_> = models
            .iter()
            .filter_map(|spec| {
                let provider = providers.iter().find(|p| p.spec.name == spec.provider)?;
                Some(Arc::new(ModelEntry {
                    id: model_id(&spec.name),
                    provider: Arc::clone(provider),
                    compaction_threshold: spec.compaction_threshold.unwrap_or(compaction_threshold),
                    spec: spec.clone(),
                }))
            })
            .collect();
        let by_id = models.iter().enumerate().map(|(at, m)| (m.id, at)).collect();
        let offered = || models.iter().filter(|m| m.is_offered());
        let default = offered().find(|m| m.spec.default).or_else(|| offered().next()).map(|m| m.id);
        Self { providers, models, by_id, default, declared_at: Some(declared_at) }
    }

    /// Every model in the order of the configuration.
    #[must_use]
    pub fn models(&self) -> &[Arc<ModelEntry>] {
        &self.models
    }

    /// Every provider in the order of the configuration.
    #[must_use]
    pub fn providers(&self) -> &[Arc<ProviderEntry>] {
        &self.providers
    }

    /// When the configuration was read.
    #[must_use]
    pub fn declared_at(&self) -> Timestamp {
        self.declared_at.unwrap_or(Timestamp::from_micros(0))
    }

    /// A model by id, usable or not.
    #[must_use]
    pub fn model(&self, id: ModelConfigId) -> Option<&Arc<ModelEntry>> {
        self.by_id.get(&id).and_then(|at| self.models.get(*at))
    }

    /// A model that can be called now.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn usable(&self, id: ModelConfigId) -> Result<&Arc<ModelEntry>, Unusable> {
        let model = self.model(id).ok_or(Unusable::Unknown)?;
        if !model.spec.enabled {
            return Err(Unusable::Disabled);
        }
        model.provider.usable().map(|()| model)
    }

    /// The model for those who pick none: the one marked as default, else the first that is offered.
    #[must_use]
    pub fn default_model(&self) -> Option<&Arc<ModelEntry>> {
        self.default.and_then(|id| self.model(id))
    }
}

impl ModelEntry {
    /// Where and how it is called.
    ///
    /// # Errors
    /// `config` or `missing_key` when it cannot be called as it is declared.
    pub fn endpoint(&self) -> Result<Endpoint, Failure> {
        let spec = &self.provider.spec;
        let Some(kind) = providers::lookup(spec.kind.as_str()) else {
            return Err(Failure {
                kind: FailureKind::Config,
                retryable: false,
                message: format!("Providers of the type {} are not supported.", spec.kind.as_str()),
                detail: None,
                provider: spec.kind.as_str().to_owned(),
                status_code: None,
                retry_after: None,
                chain_broken: false,
            });
        };
        let key = spec.key.as_ref().map(|key| Secret::new(key.expose()));
        let base_url = spec.base_url.as_ref().map(|url| url.as_str());
        kind.endpoint(base_url, key, self.spec.use_responses_api.unwrap_or(true))
    }

    /// Whether people see it: it and its provider are enabled.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.spec.enabled && self.provider.spec.enabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn provider(name: &str, kind: ProviderKind) -> Provider {
        Provider { name: name.into(), kind, ..Provider::default() }
    }
    fn model(name: &str, provider: &str) -> Model {
        Model { name: name.into(), provider: provider.into(), model: name.into(), ..Model::default() }
    }
    fn catalog(providers: &[Provider], models: &[Model]) -> Catalog {
        Catalog::new(providers, models, 70, Timestamp::from_micros(0))
    }

    #[test]
    fn ids_are_stable() {
        assert_eq!(model_id("a"), model_id("a"));
        assert_ne!(model_id("a").0, provider_id("a").0);
    }

    #[test]
    fn the_default_is_always_one_that_is_offered() {
        let scripted = provider("s", ProviderKind::Scripted);
        let (a, b) = (model("a", "s"), Model { default: true, ..model("b", "s") });
        let two = catalog(&[scripted.clone()], &[a.clone(), b.clone()]);
        assert_eq!(two.default_model().unwrap().spec.name, "b");
        let off = catalog(&[scripted.clone()], &[a, Model { enabled: false, ..b }]);
        assert_eq!(off.default_model().unwrap().spec.name, "a");
        let stray = catalog(&[scripted], &[model("c", "nobody")]);
        assert!(stray.default_model().is_none());
        assert!(stray.models().is_empty());
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let keyless = provider("k", ProviderKind::Anthropic);
        let with_key = Provider { key: Some(Secret::new("x")), ..provider("w", ProviderKind::Anthropic) };
        let off = Provider { enabled: false, ..provider("o", ProviderKind::Scripted) };
        let models =
            [model("k", "k"), model("w", "w"), model("o", "o"), Model { enabled: false, ..model("d", "w") }];
        let c = catalog(&[keyless, with_key, off], &models);
        let why = |name: &str| c.usable(model_id(name)).err();
        assert_eq!(why("k"), Some(Unusable::MissingKey));
        assert_eq!(why("w"), None);
        assert_eq!(why("o"), Some(Unusable::ProviderDisabled));
        assert_eq!(why("d"), Some(Unusable::Disabled));
        assert_eq!(why("x"), Some(Unusable::Unknown));
    }
}
