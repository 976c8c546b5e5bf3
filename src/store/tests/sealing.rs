//! Secrets at rest and the rotation of their keys.

use super::{
    fixture::*,
    support::{Db, both},
};
use crate::{
    config::Secret,
    ids::ProviderId,
    store::{
        Error, RotateError, Store,
        records::models::{NewKey, ProviderRecord, Source, WantedKey},
        sealing::{Column, KeyId, Keyring},
    },
};
use std::time::Duration;

fn keyed(db: &Db, folder: &tempfile::TempDir) -> Store {
    db.peer().with_keys(Keyring::file(&folder.path().join("keys")).unwrap())
}

pub(super) fn provider(name: &str) -> ProviderRecord {
    ProviderRecord {
        id: ProviderId::fresh(),
        kind: "anthropic".into(),
        name: name.into(),
        display_name: name.into(),
        icon: String::new(),
        enabled: true,
        base_url: None,
        central_api_key_enabled: true,
        allow_user_api_key: true,
        allow_central_api_key_fallback: true,
        source: Source::Api,
        created_at: NOW,
        updated_at: NOW,
    }
}

fn key(text: String) -> NewKey {
    NewKey { secret: Secret::new(text), hint: "…".into() }
}

/// Every stored key in clear.
async fn opened(store: &Store) -> Vec<String> {
    let tables = store.model_tables().await.unwrap();
    let open = |(column, id, sealed): (Column, uuid::Uuid, &Vec<u8>)| {
        store.keys().open(column, id, sealed).unwrap().expose().to_owned()
    };
    let central = tables.provider_keys.iter().map(|k| (Column::ProviderKey, k.id, &k.sealed));
    let own = tables.user_keys.iter().map(|k| (Column::UserProviderKey, k.id, &k.sealed));
    central.chain(own).map(open).collect()
}

both! {
    async fn a_rotation_reseals_everything_and_drops_the_old_key(db) {
        let folder = tempfile::tempdir().unwrap();
        let store = keyed(&db, &folder);
        let first = store.ready_keys().await.unwrap();
        let ann = store.create_user(new_user("ann"), NOW).await.unwrap();
        // More than a batch.
        let many: Vec<String> = (0..450).map(|n| format!("sk-central-{n:03}")).collect();
        let p = provider("many");
        store.create_provider(p.clone(), many.iter().cloned().map(key).collect(), false).await.unwrap();
        store.put_user_key(ann.id, p.id, Secret::new("sk-of-ann"), NOW).await.unwrap();
        let mut clear = opened(&store).await;
        clear.sort();
        let running = keyed(&db, &folder);
        running.ready_keys().await.unwrap();
        let before = store.model_tables().await.unwrap();

        let done = store.rotate_keys().await.unwrap();
        assert_eq!((done.resealed, done.resumed, done.dropped.as_slice()), (451, false, [first].as_slice()));
        assert_ne!(done.key, first);
        assert_eq!(store.sealed_counts().await.unwrap(), [(done.key, 451)]);
        assert_eq!(store.keys().listed(), [done.key]);
        // A daemon that ran meanwhile finds the new key by itself, and can still open what it has read.
        let mut after = opened(&running).await;
        after.sort();
        assert_eq!(after, clear);
        let old = &before.user_keys[0];
        assert_eq!(running.keys().open(Column::UserProviderKey, old.id, &old.sealed).unwrap().expose(), "sk-of-ann");
        running.put_user_key(ann.id, p.id, Secret::new("sk-new"), NOW).await.unwrap();
        assert_eq!(store.sealed_counts().await.unwrap(), [(done.key, 451)], "sealed with the new key at once");
        let states = store.key_states().await.unwrap();
        assert_eq!(states.len(), 1);
        assert!(states[0].seals && states[0].listed && states[0].secrets == 451);
    }

    async fn a_rotation_that_was_killed_goes_on(db) {
        let folder = tempfile::tempdir().unwrap();
        let store = keyed(&db, &folder);
        let first = store.ready_keys().await.unwrap();
        let p = provider("p");
        let many = (0..250).map(|n| key(format!("sk-{n}"))).collect();
        store.create_provider(p.clone(), many, false).await.unwrap();
        // Killed after the key was written down.
        let second = store.keys().append().unwrap();
        let fresh = keyed(&db, &folder);
        assert_eq!(fresh.ready_keys().await.unwrap(), first, "a key that is only written down seals nothing");
        // Killed after it became the one that seals, and one batch was done.
        fresh.activate_key(fresh.keys().clone(), second).await.unwrap();
        let (last, changed) = fresh.reseal(fresh.keys().clone(), Column::ProviderKey, uuid::Uuid::nil()).await.unwrap();
        assert!(last.is_some() && changed == 200);
        let done = keyed(&db, &folder).rotate_keys().await.unwrap();
        assert_eq!((done.key, done.resumed, done.resealed, done.dropped), (second, true, 50, vec![first]));
        assert_eq!(opened(&keyed(&db, &folder)).await.len(), 250);
        let again = keyed(&db, &folder).rotate_keys().await.unwrap();
        assert_eq!((again.resumed, again.resealed, again.dropped), (false, 250, vec![second]));
    }

    async fn a_replica_with_other_keys_is_refused(db) {
        let (mine, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = keyed(&db, &mine);
        let id = store.ready_keys().await.unwrap();
        for stranger in [keyed(&db, &others), {
            let ring = Keyring::file(&others.path().join("keys")).unwrap();
            ring.create().unwrap();
            db.peer().with_keys(ring)
        }] {
            match stranger.ready_keys().await {
                Err(RotateError::Store(Error::Sealed(why))) => assert!(why.contains(&id.to_string()), "{why}"),
                other => panic!("{other:?}"),
            }
            let refused = stranger.create_provider(provider("x"), vec![key("sk".into())], false).await;
            assert!(matches!(refused, Err(Error::Sealed(_))), "{refused:?}");
        }
        assert!(store.model_tables().await.unwrap().providers.is_empty(), "nothing was written");
        let refused = db.store.create_provider(provider("x"), vec![key("sk".into())], false).await;
        assert!(matches!(refused, Err(Error::Sealed(_))), "{refused:?}");
    }

    async fn keys_of_a_provider_are_what_is_wanted(db) {
        let folder = tempfile::tempdir().unwrap();
        let store = keyed(&db, &folder);
        store.ready_keys().await.unwrap();
        let p = provider("p");
        store.create_provider(p.clone(), vec![key("one".into()), key("two".into())], false).await.unwrap();
        let rows = store.model_tables().await.unwrap().provider_keys;
        assert_eq!(opened(&store).await, ["one", "two"]);
        let later = ProviderRecord { updated_at: NOW + Duration::from_secs(1), ..p.clone() };
        let wanted = vec![WantedKey::Keep(rows[1].id), WantedKey::Add(key("three".into()))];
        store.change_provider(later.clone(), NOW, Some(wanted.clone())).await.unwrap();
        assert_eq!(opened(&store).await, ["two", "three"]);
        assert!(matches!(store.change_provider(later.clone(), NOW, Some(wanted)).await, Err(Error::Stale)));
        store.change_provider(later.clone(), later.updated_at, None).await.unwrap();
        assert_eq!(opened(&store).await.len(), 2);
        // What is stored cannot be used in another row.
        let rows = store.model_tables().await.unwrap().provider_keys;
        let moved = store.keys().open(Column::ProviderKey, rows[0].id, &rows[1].sealed);
        assert!(matches!(moved, Err(Error::Sealed(_))));
        assert!(KeyId::of_sealed(&rows[0].sealed).is_some());
    }
}
