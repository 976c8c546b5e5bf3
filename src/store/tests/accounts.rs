//! Users, tokens, idempotency keys.

use super::{fixture::*, support::both};
use crate::{
    clock::Timestamp,
    store::{
        Error,
        commit::{Accepted, Commit},
        records::{TokenKind, TokenRecord},
    },
};
use std::time::Duration;

both! {
    async fn users_are_made_once_and_can_be_suspended(db) {
        let store = &db.store;
        let ann = store.create_user(new_user("ann"), NOW).await.unwrap();
        assert_eq!(store.user(ann.id).await.unwrap(), ann);
        assert!(matches!(store.create_user(new_user("ann"), NOW).await, Err(Error::Duplicate(_))));
        store.create_user(new_user("bob"), NOW).await.unwrap();
        let names: Vec<_> = store.list_users().await.unwrap().into_iter().map(|u| u.username).collect();
        assert_eq!(names, ["ann", "bob"]);
        let later = NOW + Duration::from_secs(1);
        let off = store.set_suspended(ann.id, true, later).await.unwrap();
        assert!(off.suspended && off.updated_at == later && off.created_at == NOW);
        assert_eq!(store.user_by_name("ann".into()).await.unwrap(), off);
        assert!(matches!(store.set_suspended(crate::ids::UserId::fresh(), true, NOW).await, Err(Error::NotFound)));
        let organization = store.default_organization(NOW).await.unwrap();
        assert!(organization.is_default);
        assert_eq!(store.organizations_of(ann.id).await.unwrap(), [organization]);
    }

    async fn racing_replicas_make_one_organization_and_one_value(db) {
        let peer = db.peer();
        let (a, b) = tokio::join!(db.store.default_organization(NOW), peer.default_organization(NOW));
        assert_eq!(a.unwrap(), b.unwrap());
        let (a, b) = tokio::join!(db.store.deployment_value("id".into(), "a".into()), peer.deployment_value("id".into(), "b".into()));
        let value = a.unwrap();
        assert_eq!(value, b.unwrap());
        assert_eq!(db.store.deployment_value("id".into(), "c".into()).await.unwrap(), value);
        let (a, b) = tokio::join!(db.store.create_user(new_user("ann"), NOW), peer.create_user(new_user("ann"), NOW));
        assert_eq!([a.is_ok(), b.is_ok()].into_iter().filter(|ok| *ok).count(), 1);
    }

    async fn tokens_belong_to_users(db) {
        let store = &db.store;
        let ann = store.create_user(new_user("ann"), NOW).await.unwrap();
        let token = TokenRecord {
            id: "abc".into(),
            user_id: ann.id,
            hash: vec![0, 255, 7],
            kind: TokenKind::Session,
            name: "laptop".into(),
            created_at: NOW,
            expires_at: Some(NOW),
            last_used_at: None,
            created_from: Some("::1".into()),
        };
        store.create_token(token.clone()).await.unwrap();
        assert!(matches!(store.create_token(token.clone()).await, Err(Error::Database(_))));
        assert_eq!(store.token("abc".into()).await.unwrap(), Some((token.clone(), ann.clone())));
        assert_eq!(store.token("nope".into()).await.unwrap(), None);
        assert_eq!(store.tokens(None).await.unwrap(), [(token.clone(), ann.clone())]);
        assert_eq!(store.revoke_token("abc".into(), Some(crate::ids::UserId::fresh())).await.unwrap(), None);
        assert_eq!(store.revoke_token("abc".into(), Some(ann.id)).await.unwrap(), Some(ann.id));
        assert_eq!(store.revoke_token("abc".into(), None).await.unwrap(), None);
        let stranger = TokenRecord { user_id: crate::ids::UserId::fresh(), ..token };
        assert!(store.create_token(stranger).await.is_err(), "foreign keys hold on both engines");
    }

    async fn a_key_gives_its_first_answer_again(db) {
        let chat = Driven::new(&db).await;
        let with = |hash: &'static [u8], answer: &str| {
            let mut c = Commit::new(chat.id, send("once"), NOW);
            c.idempotency = Some(key(chat.person.user, "k", hash, answer));
            c
        };
        fresh(chat.store.commit(with(b"a", "{\"n\":  1}")).await.unwrap());
        let before = chat.store.chat(chat.id).await.unwrap();
        let again = chat.store.commit(with(b"a", "{\"n\":2}")).await.unwrap();
        assert_eq!(again, Accepted::Replayed { status: 201, answer: json("{\"n\":  1}") });
        assert!(matches!(chat.store.commit(with(b"b", "{}")).await, Err(Error::IdempotencyMismatch)));
        assert_eq!(chat.store.chat(chat.id).await.unwrap(), before);
        // Another user's key is another key.
        let bob = chat.store.create_user(new_user("bob"), NOW).await.unwrap();
        let mut c = with(b"b", "{}");
        c.idempotency = Some(key(bob.id, "k", b"b", "{}"));
        fresh(chat.store.commit(c).await.unwrap());
        assert_eq!(chat.queue().await.len(), 2);
        // A refused request leaves no answer behind.
        let mut refused = Commit::new(chat.id, crate::chat::command::Command::RequestCompaction, NOW);
        refused.idempotency = Some(key(bob.id, "r", b"r", "{}"));
        assert!(matches!(chat.store.commit(refused).await, Err(Error::Refused(_))));
        let mut good = Commit::new(chat.id, send("x"), NOW);
        good.idempotency = Some(key(bob.id, "r", b"other", "{}"));
        fresh(chat.store.commit(good).await.unwrap());
        assert_eq!(chat.store.sweep_idempotency(NOW).await.unwrap(), 0);
        assert_eq!(chat.store.sweep_idempotency(Timestamp::from_micros(NOW.as_micros() + 1)).await.unwrap(), 3);
        fresh(chat.store.commit(with(b"b", "{}")).await.unwrap());
    }

    async fn creation_is_repeatable(db) {
        let person = Person::of(&db.store).await;
        let make = |hash: &'static [u8]| db.store.create_chat(person.new_chat("c"), NOW, Some(key(person.user, "k", hash, "[1]")));
        fresh(make(b"a").await.unwrap());
        assert_eq!(make(b"a").await.unwrap(), Accepted::Replayed { status: 201, answer: json("[1]") });
        assert!(matches!(make(b"b").await, Err(Error::IdempotencyMismatch)));
        assert_eq!(db.store.list_chats(all_of(person.user)).await.unwrap().len(), 1);
    }
}
