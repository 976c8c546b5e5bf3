//! Owners, login links, sessions, groups: what the rows themselves hold to.

use super::{fixture::*, support::both};
use crate::{
    ids::{GroupId, OrganizationId, UserId},
    store::{
        Error,
        records::{
            GroupPatch, GroupRecord, LoginLink, OrganizationRecord, SiteRole, TokenKind, TokenRecord,
            UserPage, UserPatch,
        },
    },
};
use std::time::Duration;

fn session(id: &str) -> TokenRecord {
    TokenRecord {
        id: id.into(),
        user_id: UserId(uuid::Uuid::nil()),
        hash: vec![1],
        kind: TokenKind::Session,
        name: String::new(),
        created_at: NOW,
        expires_at: Some(NOW + Duration::from_secs(60)),
        last_used_at: None,
        created_from: None,
    }
}

both! {
    async fn one_owner_is_left_however_many_step_down(db) {
        let peer = db.peer();
        for round in 0..5 {
            let new = |name: &str| new_user(&format!("{name}{round}")).with_role(SiteRole::Owner);
            let ann = db.store.create_user(new("ann"), NOW).await.unwrap();
            let bob = db.store.create_user(new("bob"), NOW).await.unwrap();
            let (a, b) = tokio::join!(
                db.store.set_suspended(ann.id, true, NOW),
                peer.set_role(bob.id, SiteRole::Member, NOW),
            );
            let refused = [a.err(), b.err()];
            assert_eq!(refused.iter().flatten().count(), 1, "{refused:?}");
            assert!(refused.iter().flatten().all(|e| matches!(e, Error::Conflict(_))), "{refused:?}");
            // Whoever is left goes when there is another, so that the next round begins with none.
            let left = db.store.list_users().await.unwrap().into_iter().find(|u| u.is_owner() && !u.suspended).unwrap();
            assert!(matches!(db.store.delete_user(left.id, NOW).await, Err(Error::Conflict(_))));
            db.sql("UPDATE users SET role = 'member'").await;
        }
    }

    async fn a_deleted_user_leaves_the_name(db) {
        let store = &db.store;
        let ann = store.create_user(new_user("ann"), NOW).await.unwrap();
        store.create_token(TokenRecord { user_id: ann.id, ..session("s") }).await.unwrap();
        let gone = store.delete_user(ann.id, NOW).await.unwrap();
        assert!(gone.deleted && gone.username == "ann");
        assert_eq!(store.token("s".into()).await.unwrap(), None);
        assert!(store.organizations_of(ann.id).await.unwrap().is_empty());
        assert!(matches!(store.user_by_name("ann".into()).await, Err(Error::NotFound)));
        assert!(store.credentials("ann@example.com".into()).await.unwrap().is_none());
        for again in [
            store.set_suspended(ann.id, true, NOW).await,
            store.delete_user(ann.id, NOW).await,
            store.update_user(ann.id, UserPatch { name: Some("x".into()), ..UserPatch::default() }, NOW).await,
            store.set_password(ann.id, "x".into(), None, NOW).await,
        ] {
            assert!(matches!(again, Err(Error::NotFound)), "{again:?}");
        }
        assert_eq!(store.user(ann.id).await.unwrap().name, "ANN");
        let other = store.create_user(new_user("ann"), NOW).await.unwrap();
        assert_ne!(other.id, ann.id);
        assert_eq!(store.list_users().await.unwrap(), [other]);
    }

    async fn a_link_gives_one_session(db) {
        let store = &db.store;
        let ann = store.create_user(new_user("ann"), NOW).await.unwrap();
        let link = |id: &str| LoginLink {
            id: id.into(), user_id: ann.id, hash: vec![7], created_at: NOW, expires_at: NOW + Duration::from_secs(1),
        };
        store.create_login_link(link("one")).await.unwrap();
        let redeem = |id: &str, hash: u8, session_id: &str, now| {
            store.redeem_login_link(id.into(), vec![hash], session(session_id), now)
        };
        assert_eq!(redeem("one", 8, "a", NOW).await.unwrap(), None);
        assert_eq!(redeem("two", 7, "a", NOW).await.unwrap(), None);
        assert_eq!(redeem("one", 7, "a", NOW).await.unwrap().unwrap().id, ann.id);
        assert_eq!(redeem("one", 7, "b", NOW).await.unwrap(), None);
        let (made, owner) = store.token("a".into()).await.unwrap().unwrap();
        assert_eq!((made.user_id, owner.id, made.kind), (ann.id, ann.id, TokenKind::Session));
        assert_eq!(store.token("b".into()).await.unwrap(), None);
        store.create_login_link(link("late")).await.unwrap();
        assert_eq!(redeem("late", 7, "b", NOW + Duration::from_secs(1)).await.unwrap(), None);
        // Used, and seen with it.
        store.touch_token("a".into(), ann.id, NOW).await.unwrap();
        let (used, owner) = store.token("a".into()).await.unwrap().unwrap();
        assert_eq!((used.last_used_at, owner.last_seen_at), (Some(NOW), Some(NOW)));
        // What has ended is swept, what never ends stays.
        store.create_token(TokenRecord { user_id: ann.id, expires_at: None, ..session("ever") }).await.unwrap();
        assert_eq!(store.sweep_credentials(NOW).await.unwrap(), 0);
        assert_eq!(store.sweep_credentials(NOW + Duration::from_secs(100)).await.unwrap(), 2);
        assert!(store.token("ever".into()).await.unwrap().is_some());
    }

    async fn each_change_of_access_is_seen(db) {
        let store = &db.store;
        let ann = store.create_user(new_user("ann"), NOW).await.unwrap();
        let mut before = store.access_version().await.unwrap();
        let mut changed = async || {
            let now = db.store.access_version().await.unwrap();
            std::mem::replace(&mut before, now.clone()) != now
        };
        store.create_token(TokenRecord { user_id: ann.id, ..session("s") }).await.unwrap();
        assert!(!changed().await);
        store.set_suspended(ann.id, true, NOW).await.unwrap();
        assert!(changed().await);
        store.set_suspended(ann.id, false, NOW).await.unwrap();
        assert!(changed().await);
        store.set_role(ann.id, SiteRole::Admin, NOW).await.unwrap();
        assert!(changed().await);
        store.revoke_token("s".into(), None).await.unwrap();
        assert!(changed().await);
        store.revoke_token("s".into(), None).await.unwrap();
        assert!(!changed().await);
        store.set_password(ann.id, "h".into(), None, NOW).await.unwrap();
        assert!(changed().await);
        assert_eq!(store.credentials("ANN@example.com".into()).await.unwrap().unwrap().1.as_deref(), Some("h"));
    }

    async fn organizations_and_groups(db) {
        let store = &db.store;
        let ann = store.create_user(new_user("ann"), NOW).await.unwrap();
        let bob = store.create_user(new_user("bob"), NOW).await.unwrap();
        let organization = |name: &str| OrganizationRecord {
            id: OrganizationId::fresh(),
            name: name.into(),
            display_name: name.into(),
            icon: String::new(),
            description: String::new(),
            is_default: false,
            created_at: NOW,
            updated_at: NOW,
        };
        let lab = store.create_organization(organization("lab"), ann.id).await.unwrap();
        assert!(matches!(store.create_organization(organization("lab"), ann.id).await, Err(Error::Duplicate(_))));
        assert!(store.member(lab.id, ann.id).await.unwrap().unwrap().agents_access);
        assert!(store.member(lab.id, bob.id).await.unwrap().is_none());
        let group = GroupRecord {
            id: GroupId::fresh(),
            organization_id: lab.id,
            name: "g".into(),
            display_name: String::new(),
            avatar_url: String::new(),
            member_count: 0,
            created_at: NOW,
            updated_at: NOW,
        };
        let refused = store.create_group(group.clone(), vec![bob.id]).await;
        assert!(matches!(refused, Err(Error::NotAMember(id)) if id == bob.id));
        assert!(matches!(store.group(group.id).await, Err(Error::NotFound)), "nothing was written");
        assert_eq!(store.create_group(group.clone(), vec![ann.id]).await.unwrap().member_count, 1);
        store.add_member(lab.id, bob.id, false, NOW).await.unwrap();
        let add = GroupPatch { add: vec![bob.id, ann.id], ..GroupPatch::default() };
        assert_eq!(store.update_group(group.id, add, NOW).await.unwrap().member_count, 2);
        assert_eq!(store.groups_of(bob.id).await.unwrap(), [group.id]);
        assert!(store.remove_member(lab.id, bob.id).await.unwrap());
        assert_eq!(store.group_members(group.id).await.unwrap().len(), 1);
        let mut agents = store.memberships(vec![ann.id, bob.id]).await.unwrap();
        agents.retain(|(_, o, _)| *o == lab.id);
        assert_eq!(agents, [(ann.id, lab.id, true)]);
        store.delete_organization(lab.id).await.unwrap();
        assert!(matches!(store.group(group.id).await, Err(Error::NotFound)));
        assert!(matches!(store.organization(lab.id).await, Err(Error::NotFound)));
        let page = UserPage { search: Some("ANN".into()), limit: 10, offset: 0 };
        let (found, count) = store.page_users(page).await.unwrap();
        assert_eq!((found.len(), count), (1, 1));
    }
}
