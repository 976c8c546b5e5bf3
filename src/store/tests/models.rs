//! Records of the configuration beside those of the API.

use super::{fixture::*, sealing::provider, support::both};
use crate::{
    chat::json::Json,
    clock::Timestamp,
    ids::{ModelConfigId, ProviderId},
    store::{
        Error, Store,
        records::models::{ModelRecord, ProviderRecord, Removal, Source},
    },
};
use std::time::Duration;

const LATER: Timestamp = Timestamp::from_micros(NOW.as_micros() + 5_000_000);

fn declared(name: &str) -> ProviderRecord {
    ProviderRecord { source: Source::Config, ..provider(name) }
}

fn model(provider: ProviderId, name: &str, source: Source) -> ModelRecord {
    ModelRecord {
        id: ModelConfigId::fresh(),
        provider_id: provider,
        name: None,
        model: name.into(),
        display_name: name.into(),
        enabled: true,
        is_default: false,
        context_limit: 1000,
        compression_threshold: 70,
        model_config: Json::parse("{}".to_owned()).unwrap(),
        source,
        created_at: NOW,
        updated_at: NOW,
    }
}

async fn default_of(store: &Store) -> Vec<String> {
    let models = store.model_tables().await.unwrap().models;
    models.into_iter().filter(|m| m.is_default).map(|m| m.model).collect()
}

both! {
    async fn a_declaration_takes_a_provider_of_its_name_over(db) {
        let store = &db.store;
        let mine = provider("claude");
        store.create_provider(mine.clone(), vec![], false).await.unwrap();
        let used = model(mine.id, "api-model", Source::Api);
        store.create_model(used.clone()).await.unwrap();
        let file = declared("claude");
        let m = model(file.id, "file-model", Source::Config);
        store.sync_declared(vec![file.clone()], vec![m.clone()], LATER).await.unwrap();
        let tables = store.model_tables().await.unwrap();
        assert_eq!(tables.providers.len(), 1);
        assert_eq!((tables.providers[0].id, tables.providers[0].source), (mine.id, Source::Config));
        assert!(tables.models.iter().all(|m| m.provider_id == mine.id) && tables.models.len() == 2);
        // The same again changes nothing.
        store.sync_declared(vec![file], vec![m.clone()], LATER + Duration::from_secs(1)).await.unwrap();
        assert_eq!(store.model_tables().await.unwrap(), tables);
        // Gone from the file: the model goes, the provider stays for the other one.
        store.sync_declared(vec![], vec![], LATER).await.unwrap();
        let left = store.model_tables().await.unwrap();
        assert_eq!((left.providers[0].source, left.providers[0].enabled), (Source::Api, false));
        assert_eq!(left.models.iter().map(|m| m.id).collect::<Vec<_>>(), [used.id]);
        assert_eq!(store.delete_provider(mine.id, LATER).await.unwrap(), Removal::InUse);
        store.delete_model(used.id, LATER).await.unwrap();
        assert_eq!(store.delete_provider(mine.id, LATER).await.unwrap(), Removal::Removed);
        assert!(matches!(store.delete_provider(mine.id, LATER).await, Err(Error::NotFound)));
    }

    async fn a_default_chosen_by_hand_outlives_a_start(db) {
        let store = &db.store;
        let file = declared("s");
        let (a, b) = (model(file.id, "a", Source::Config), model(file.id, "b", Source::Config));
        let chosen = |m: &ModelRecord| ModelRecord { is_default: true, ..m.clone() };
        store.sync_declared(vec![file.clone()], vec![a.clone(), chosen(&b)], NOW).await.unwrap();
        assert_eq!(default_of(store).await, ["b"]);
        store.set_default_model(a.id).await.unwrap();
        assert_eq!(default_of(store).await, ["a"]);
        store.sync_declared(vec![file.clone()], vec![a.clone(), chosen(&b)], LATER).await.unwrap();
        assert_eq!(default_of(store).await, ["b"], "what is declared is in force among what is declared");
        let c = model(file.id, "c", Source::Api);
        store.create_model(chosen(&c)).await.unwrap();
        store.sync_declared(vec![file], vec![a, chosen(&b)], LATER).await.unwrap();
        assert_eq!(default_of(store).await, ["c"]);
        store.change_model(ModelRecord { enabled: false, is_default: true, ..c.clone() }, c.updated_at).await.unwrap();
        assert_eq!(default_of(store).await.len(), 1, "never a disabled one");
        assert_ne!(default_of(store).await, ["c"]);
    }
}
