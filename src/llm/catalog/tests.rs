use super::*;
use crate::{
    clock::Timestamp,
    config::{models::Model, providers::Provider as Spec, providers::ProviderKind},
    store::records::models::UserKeyRecord,
};

const NOW: Timestamp = Timestamp::from_micros(0);

fn spec(name: &str, kind: ProviderKind) -> Spec {
    Spec { name: name.into(), kind, ..Spec::default() }
}

fn model(name: &str, provider: &str) -> Model {
    Model { name: name.into(), provider: provider.into(), model: name.into(), ..Model::default() }
}

fn tables(providers: &[Spec], models: &[Model]) -> ModelTables {
    ModelTables {
        providers: providers.iter().map(|p| provider_record(p, NOW)).collect(),
        models: models.iter().map(|m| model_record(m, 70, NOW)).collect(),
        ..ModelTables::default()
    }
}

fn outside(keys: &[&str], allow_user_api_keys: bool) -> Outside {
    let keys = keys.iter().map(|name| ((*name).to_owned(), config::Secret::new("central-key"))).collect();
    Outside { keys, scripted: HashMap::new(), allow_user_api_keys }
}

fn build(tables: ModelTables, outside: &Outside) -> Catalog {
    Catalog::build(tables, outside, &Keyring::none())
}

#[test]
fn the_default_is_always_one_that_is_offered() {
    let scripted = spec("s", ProviderKind::Scripted);
    let (a, b) = (model("a", "s"), Model { default: true, ..model("b", "s") });
    let two = build(tables(std::slice::from_ref(&scripted), &[a.clone(), b.clone()]), &outside(&[], true));
    assert_eq!(two.default_model().unwrap().record.model, "b");
    let off = Model { enabled: false, ..b };
    let one = build(tables(std::slice::from_ref(&scripted), &[a, off]), &outside(&[], true));
    assert_eq!(one.default_model().unwrap().record.model, "a");
    let stray = build(tables(&[scripted], &[model("c", "nobody")]), &outside(&[], true));
    assert!(stray.default_model().is_none() && stray.models().is_empty());
}

#[test]
fn what_cannot_be_used_says_why() {
    let off = Spec { enabled: false, ..spec("o", ProviderKind::Scripted) };
    let providers = [spec("k", ProviderKind::Anthropic), spec("w", ProviderKind::Anthropic), off];
    let models =
        [model("k", "k"), model("w", "w"), model("o", "o"), Model { enabled: false, ..model("d", "w") }];
    let me = UserId::fresh();
    for (allowed, keyless) in [(true, Unusable::UserKeyRequired), (false, Unusable::MissingKey)] {
        let c = build(tables(&providers, &models), &outside(&["w"], allowed));
        let why = |name: &str| c.usable(model_id(name), me).err();
        assert_eq!(why("k"), Some(keyless));
        assert_eq!(why("w"), None);
        assert_eq!(why("o"), Some(Unusable::ProviderDisabled));
        assert_eq!(why("d"), Some(Unusable::Disabled));
        assert_eq!(why("x"), Some(Unusable::Unknown));
        assert_eq!(c.offered_to(me).map(|m| m.record.model.as_str()).collect::<Vec<_>>(), ["w"]);
        let kinds = |name: &str| c.model(model_id(name)).unwrap().endpoint(me).map(drop).map_err(|e| e.kind);
        assert_eq!(kinds("k"), Err(FailureKind::MissingKey));
        assert_eq!(kinds("o"), Err(FailureKind::ProviderDisabled));
        assert_eq!(kinds("w"), Ok(()));
    }
}

/// Every combination of workspace-and-providers.md §6.3 and of the three flags of api.md §2.12, also for a type that can be
/// called without a key: there the administrator's permission stands for the central key.
#[test]
fn the_users_own_key_comes_first_and_the_central_one_only_where_it_may() {
    let (me, other) = (UserId::fresh(), UserId::fresh());
    let row = Uuid::from_u128(1);
    let all = (0..32).map(|bits: u8| [0, 1, 2, 3, 4].map(|bit| (bits >> bit) & 1 == 1));
    for [central_on, allow_user, fallback, has_central, keyless] in all {
        let kind = if keyless { ProviderKind::OpenaiCompatible } else { ProviderKind::Openai };
        let mut t = tables(&[spec("p", kind)], &[]);
        let record = &mut t.providers[0];
        record.central_api_key_enabled = central_on;
        record.allow_user_api_key = allow_user;
        record.allow_central_api_key_fallback = fallback;
        let key = UserKeyRecord { id: row, user_id: me, provider_id: record.id, sealed: vec![] };
        t.user_keys.push(key);
        let keys: &[&str] = if has_central { &["p"] } else { &[] };
        let c = build(t, &outside(keys, true));
        let p = &c.providers()[0];
        let central = central_on && (has_central || keyless) && (!allow_user || fallback);
        let case = format!("{central_on} {allow_user} {fallback} {has_central} {keyless}");
        assert_eq!(p.usable_by(me).is_ok(), allow_user || central, "{case}");
        let expected = match (central, allow_user) {
            (true, _) => None,
            (false, true) => Some(Unusable::UserKeyRequired),
            (false, false) => Some(Unusable::MissingKey),
        };
        assert_eq!(p.usable_by(other).err(), expected, "{case}");
        let credential = p.credential(other).map(|key| key.is_some());
        assert_eq!(credential, expected.map_or(Ok(has_central), Err), "{case}");
    }
}

#[test]
fn nothing_of_a_key_is_printed() {
    let c = build(tables(&[spec("w", ProviderKind::Anthropic)], &[model("m", "w")]), &outside(&["w"], true));
    assert!(!format!("{c:?}").contains("central-key"));
}
