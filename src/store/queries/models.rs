//! Providers, their keys, the keys of users, and models. Every write takes one lock, so that rules
//! between rows (one default, unique names) hold whoever else writes.

use super::{Conn, divergent, sealed};
use crate::{
    clock::Timestamp,
    config::Secret,
    ids::{ModelConfigId, ProviderId, UserId},
    store::{
        error::{Error, Result},
        model_rows::{KeyRow, ModelRow, ProviderRow, UserKeyRow},
        records::models::{ModelRecord, ModelTables, NewKey, ProviderRecord, Removal, Source, WantedKey},
        schema::{ai_provider_keys, ai_providers, model_configs, user_provider_keys},
        sealing::{Column, Keyring},
        types::{Id, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

/// Everything, in one snapshot.
pub async fn tables(conn: &mut Conn) -> Result<ModelTables> {
    let providers: Vec<ProviderRow> = ai_providers::table
        .filter(ai_providers::deleted.eq(false))
        .order((ai_providers::created_at.asc(), ai_providers::id.asc()))
        .select(ProviderRow::as_select())
        .load(conn)
        .await?;
    let keys: Vec<KeyRow> = ai_provider_keys::table
        .order((ai_provider_keys::created_at.asc(), ai_provider_keys::id.asc()))
        .select(KeyRow::as_select())
        .load(conn)
        .await?;
    let user_keys: Vec<UserKeyRow> =
        user_provider_keys::table.select(UserKeyRow::as_select()).load(conn).await?;
    Ok(ModelTables {
        providers: providers.into_iter().map(ProviderRow::record).collect::<Result<_>>()?,
        provider_keys: keys.into_iter().map(Into::into).collect(),
        user_keys: user_keys.into_iter().map(Into::into).collect(),
        models: models(conn).await?,
    })
}

async fn models(conn: &mut Conn) -> Result<Vec<ModelRecord>> {
    let rows: Vec<ModelRow> = model_configs::table
        .filter(model_configs::deleted.eq(false))
        .order((model_configs::created_at.asc(), model_configs::id.asc()))
        .select(ModelRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(ModelRow::record).collect()
}

async fn name_is_taken(conn: &mut Conn, name: &str, by_other_than: ProviderId) -> Result<bool> {
    let found: Option<Id> = ai_providers::table
        .filter(ai_providers::name.eq(name).and(ai_providers::deleted.eq(false)))
        .filter(ai_providers::id.ne(Id(by_other_than.0)))
        .select(ai_providers::id)
        .first(conn)
        .await
        .optional()?;
    Ok(found.is_some())
}

/// Makes a provider with its keys. `one_of_kind` refuses a second one of its type.
pub async fn create_provider(
    conn: &mut Conn,
    keys: Keyring,
    provider: ProviderRecord,
    new_keys: Vec<NewKey>,
    one_of_kind: bool,
) -> Result<()> {
    divergent::lock_models(conn).await?;
    if name_is_taken(conn, &provider.name, provider.id).await? {
        return Err(Error::Duplicate("a provider of this name"));
    }
    if one_of_kind {
        let found: Option<Id> = ai_providers::table
            .filter(ai_providers::type_.eq(&provider.kind).and(ai_providers::deleted.eq(false)))
            .select(ai_providers::id)
            .first(conn)
            .await
            .optional()?;
        if found.is_some() {
            return Err(Error::Duplicate("a provider of this type"));
        }
    }
    let (id, now) = (provider.id, provider.created_at);
    diesel::insert_into(ai_providers::table).values(ProviderRow::new(provider, false)).execute(conn).await?;
    add_keys(conn, &keys, id, new_keys, now).await
}

async fn add_keys(
    conn: &mut Conn,
    keys: &Keyring,
    provider: ProviderId,
    new_keys: Vec<NewKey>,
    now: Timestamp,
) -> Result<()> {
    for key in new_keys {
        let id = crate::ids::fresh_uuid();
        let api_key = sealed::seal(conn, keys, Column::ProviderKey, id, &key.secret).await?;
        let row =
            KeyRow { id: Id(id), provider_id: Id(provider.0), api_key, hint: key.hint, created_at: Ts(now) };
        diesel::insert_into(ai_provider_keys::table).values(row).execute(conn).await?;
    }
    Ok(())
}

/// Writes a provider as it shall be, provided that it is still as it was at `seen`. `wanted` is the full
/// list of its keys; `None` keeps them.
pub async fn change_provider(
    conn: &mut Conn,
    keys: Keyring,
    provider: ProviderRecord,
    seen: Timestamp,
    wanted: Option<Vec<WantedKey>>,
) -> Result<()> {
    divergent::lock_models(conn).await?;
    if name_is_taken(conn, &provider.name, provider.id).await? {
        return Err(Error::Duplicate("a provider of this name"));
    }
    let (id, now) = (provider.id, provider.updated_at);
    let live = ai_providers::table.find(Id(id.0)).filter(ai_providers::deleted.eq(false));
    let as_seen = live.filter(ai_providers::updated_at.eq(Ts(seen)));
    let row = ProviderRow::new(provider, false);
    if diesel::update(as_seen).set(row).execute(conn).await? == 0 {
        let there: Option<Id> = live.select(ai_providers::id).first(conn).await.optional()?;
        return Err(if there.is_some() { Error::Stale } else { Error::NotFound });
    }
    let Some(wanted) = wanted else { return Ok(()) };
    let (mut keep, mut add) = (Vec::new(), Vec::new());
    for key in wanted {
        match key {
            WantedKey::Keep(id) => keep.push(Id(id)),
            WantedKey::Add(key) => add.push(key),
        }
    }
    diesel::delete(
        ai_provider_keys::table
            .filter(ai_provider_keys::provider_id.eq(Id(id.0)))
            .filter(ai_provider_keys::id.ne_all(keep)),
    )
    .execute(conn)
    .await?;
    add_keys(conn, &keys, id, add, now).await
}

/// Deletes a provider and every key for it, unless a model refers to it.
pub async fn delete_provider(conn: &mut Conn, id: ProviderId, now: Timestamp) -> Result<Removal> {
    divergent::lock_models(conn).await?;
    let id = Id(id.0);
    if refers(conn, id, None).await? {
        return Ok(Removal::InUse);
    }
    let changed = diesel::update(ai_providers::table.find(id).filter(ai_providers::deleted.eq(false)))
        .set((ai_providers::deleted.eq(true), ai_providers::updated_at.eq(Ts(now))))
        .execute(conn)
        .await?;
    if changed == 0 {
        return Err(Error::NotFound);
    }
    diesel::delete(ai_provider_keys::table.filter(ai_provider_keys::provider_id.eq(id)))
        .execute(conn)
        .await?;
    diesel::delete(user_provider_keys::table.filter(user_provider_keys::provider_id.eq(id)))
        .execute(conn)
        .await?;
    Ok(Removal::Removed)
}

/// Whether a model (of this source) refers to a provider.
async fn refers(conn: &mut Conn, provider: Id, source: Option<Source>) -> Result<bool> {
    let mut query = model_configs::table
        .filter(model_configs::provider_id.eq(provider).and(model_configs::deleted.eq(false)))
        .select(model_configs::id)
        .into_boxed();
    if let Some(source) = source {
        query = query.filter(model_configs::source.eq(ModelRow::source_name(source)));
    }
    Ok(query.first::<Id>(conn).await.optional()?.is_some())
}

/// Stores a user's key for a provider, in place of an earlier one.
pub async fn put_user_key(
    conn: &mut Conn,
    keys: Keyring,
    user: UserId,
    provider: ProviderId,
    secret: Secret,
    now: Timestamp,
) -> Result<()> {
    divergent::lock_models(conn).await?;
    let there: Option<Id> = ai_providers::table
        .find(Id(provider.0))
        .filter(ai_providers::deleted.eq(false))
        .select(ai_providers::id)
        .first(conn)
        .await
        .optional()?;
    let provider_id = there.ok_or(Error::NotFound)?;
    let row: Option<Id> = user_provider_keys::table
        .filter(user_provider_keys::user_id.eq(Id(user.0)))
        .filter(user_provider_keys::provider_id.eq(provider_id))
        .select(user_provider_keys::id)
        .first(conn)
        .await
        .optional()?;
    let id = row.unwrap_or(Id(crate::ids::fresh_uuid()));
    let api_key = sealed::seal(conn, &keys, Column::UserProviderKey, id.0, &secret).await?;
    if row.is_some() {
        diesel::update(user_provider_keys::table.find(id))
            .set((user_provider_keys::api_key.eq(api_key), user_provider_keys::updated_at.eq(Ts(now))))
            .execute(conn)
            .await?;
        return Ok(());
    }
    diesel::insert_into(user_provider_keys::table)
        .values((
            user_provider_keys::id.eq(id),
            user_provider_keys::user_id.eq(Id(user.0)),
            user_provider_keys::provider_id.eq(provider_id),
            user_provider_keys::api_key.eq(api_key),
            user_provider_keys::created_at.eq(Ts(now)),
            user_provider_keys::updated_at.eq(Ts(now)),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes a user's key; whether there was one.
pub async fn delete_user_key(conn: &mut Conn, user: UserId, provider: ProviderId) -> Result<bool> {
    let removed = diesel::delete(
        user_provider_keys::table
            .filter(user_provider_keys::user_id.eq(Id(user.0)))
            .filter(user_provider_keys::provider_id.eq(Id(provider.0))),
    )
    .execute(conn)
    .await?;
    Ok(removed == 1)
}

async fn is_double(conn: &mut Conn, model: &ModelRecord) -> Result<bool> {
    let found: Option<Id> = model_configs::table
        .filter(model_configs::provider_id.eq(Id(model.provider_id.0)))
        .filter(model_configs::model.eq(&model.model).and(model_configs::deleted.eq(false)))
        .filter(model_configs::id.ne(Id(model.id.0)))
        .select(model_configs::id)
        .first(conn)
        .await
        .optional()?;
    Ok(found.is_some())
}

const DOUBLE: Error = Error::Duplicate("a model config for this model of this provider");

/// Makes a model.
pub async fn create_model(conn: &mut Conn, model: ModelRecord) -> Result<()> {
    divergent::lock_models(conn).await?;
    if is_double(conn, &model).await? {
        return Err(DOUBLE);
    }
    let preferred = model.is_default.then_some(model.id);
    diesel::insert_into(model_configs::table).values(ModelRow::new(model, false)).execute(conn).await?;
    settle_default(conn, preferred, None).await
}

/// Writes a model as it shall be, provided that it is still as it was at `seen`.
pub async fn change_model(conn: &mut Conn, model: ModelRecord, seen: Timestamp) -> Result<()> {
    divergent::lock_models(conn).await?;
    if is_double(conn, &model).await? {
        return Err(DOUBLE);
    }
    let id = Id(model.id.0);
    let live = model_configs::table.find(id).filter(model_configs::deleted.eq(false));
    let was: Option<(bool, Ts)> =
        live.select((model_configs::is_default, model_configs::updated_at)).first(conn).await.optional()?;
    let (was_default, updated_at) = was.ok_or(Error::NotFound)?;
    if updated_at.0 != seen {
        return Err(Error::Stale);
    }
    let preferred = model.is_default.then_some(model.id);
    let avoid = (was_default && !model.is_default).then_some(model.id);
    diesel::update(live).set(ModelRow::new(model, false)).execute(conn).await?;
    settle_default(conn, preferred, avoid).await
}

/// Moves the default flag to this model.
pub async fn set_default_model(conn: &mut Conn, id: ModelConfigId) -> Result<()> {
    divergent::lock_models(conn).await?;
    settle_default(conn, Some(id), None).await
}

/// Deletes a model. Chats keep its id.
pub async fn delete_model(conn: &mut Conn, id: ModelConfigId, now: Timestamp) -> Result<()> {
    divergent::lock_models(conn).await?;
    let live = model_configs::table.find(Id(id.0)).filter(model_configs::deleted.eq(false));
    let changed = diesel::update(live)
        .set((
            model_configs::deleted.eq(true),
            model_configs::is_default.eq(false),
            model_configs::updated_at.eq(Ts(now)),
        ))
        .execute(conn)
        .await?;
    if changed == 0 {
        return Err(Error::NotFound);
    }
    settle_default(conn, None, None).await
}

/// Leaves exactly one default among the enabled models, if there are any: the preferred one, else the
/// present one, else the oldest; `avoid` only when there is no other.
async fn settle_default(
    conn: &mut Conn,
    preferred: Option<ModelConfigId>,
    avoid: Option<ModelConfigId>,
) -> Result<()> {
    let all = models(conn).await?;
    let enabled = || all.iter().filter(|m| m.enabled);
    let chosen = enabled()
        .find(|m| Some(m.id) == preferred)
        .or_else(|| enabled().find(|m| m.is_default && Some(m.id) != avoid))
        .or_else(|| enabled().find(|m| Some(m.id) != avoid))
        .or_else(|| enabled().next())
        .map(|m| m.id);
    for model in all.iter().filter(|m| m.is_default != (Some(m.id) == chosen)) {
        diesel::update(model_configs::table.find(Id(model.id.0)))
            .set(model_configs::is_default.eq(Some(model.id) == chosen))
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Brings the records of the configuration in step with it: inserts, updates, and takes away what is no
/// longer declared. Whether anything changed.
pub async fn sync_declared(
    conn: &mut Conn,
    providers: Vec<ProviderRecord>,
    declared: Vec<ModelRecord>,
    now: Timestamp,
) -> Result<bool> {
    divergent::lock_models(conn).await?;
    let mut changed = false;
    let mut ids: Vec<(ProviderId, Uuid)> = Vec::new();
    for mut wanted in providers {
        let declared_id = wanted.id;
        // By name first: a provider made through the API that has the name is taken over, so that its
        // models go on.
        let rows: Vec<ProviderRow> = ai_providers::table
            .filter(
                ai_providers::name
                    .eq(&wanted.name)
                    .and(ai_providers::deleted.eq(false))
                    .or(ai_providers::id.eq(Id(wanted.id.0))),
            )
            .order(ai_providers::deleted.asc())
            .select(ProviderRow::as_select())
            .load(conn)
            .await?;
        match rows.into_iter().next() {
            None => {
                ids.push((declared_id, wanted.id.0));
                diesel::insert_into(ai_providers::table)
                    .values(ProviderRow::new(wanted, false))
                    .execute(conn)
                    .await?;
                changed = true;
            }
            Some(row) => {
                ids.push((declared_id, row.id.0));
                let deleted = row.deleted;
                let there = row.record()?;
                wanted.id = there.id;
                wanted.created_at = there.created_at;
                wanted.icon.clone_from(&there.icon);
                wanted.updated_at = there.updated_at;
                if deleted || wanted != there {
                    wanted.updated_at = now;
                    diesel::update(ai_providers::table.find(Id(wanted.id.0)))
                        .set(ProviderRow::new(wanted, false))
                        .execute(conn)
                        .await?;
                    changed = true;
                }
            }
        }
    }
    let mut preferred = None;
    let mut kept = Vec::new();
    for mut wanted in declared {
        let Some((_, provider)) = ids.iter().find(|(id, _)| *id == wanted.provider_id) else { continue };
        wanted.provider_id = ProviderId(*provider);
        kept.push(wanted.id);
        if wanted.is_default {
            preferred = Some(wanted.id);
        }
        let row: Option<ModelRow> = model_configs::table
            .find(Id(wanted.id.0))
            .select(ModelRow::as_select())
            .first(conn)
            .await
            .optional()?;
        let Some(row) = row else {
            wanted.is_default = false;
            diesel::insert_into(model_configs::table)
                .values(ModelRow::new(wanted, false))
                .execute(conn)
                .await?;
            changed = true;
            continue;
        };
        let deleted = row.deleted;
        let there = row.record()?;
        wanted.created_at = there.created_at;
        wanted.updated_at = there.updated_at;
        // Settled below.
        wanted.is_default = there.is_default;
        if deleted || wanted != there {
            wanted.updated_at = now;
            diesel::update(model_configs::table.find(Id(wanted.id.0)))
                .set(ModelRow::new(wanted, false))
                .execute(conn)
                .await?;
            changed = true;
        }
    }
    for model in models(conn).await? {
        if model.source == Source::Config && !kept.contains(&model.id) {
            diesel::update(model_configs::table.find(Id(model.id.0)))
                .set((
                    model_configs::deleted.eq(true),
                    model_configs::is_default.eq(false),
                    model_configs::updated_at.eq(Ts(now)),
                ))
                .execute(conn)
                .await?;
            changed = true;
        }
    }
    changed |= retire_providers(conn, &ids, now).await?;
    // A default that an administrator chose among the models of the API stays.
    let chosen = models(conn).await?.into_iter().find(|m| m.is_default && m.enabled);
    let preferred = preferred.filter(|_| chosen.as_ref().is_none_or(|m| m.source == Source::Config));
    changed |= preferred.is_some() && chosen.map(|m| m.id) != preferred;
    settle_default(conn, preferred, None).await?;
    Ok(changed)
}

/// Takes away declared providers that are declared no more. One with models of the API stays, switched
/// off and in the hands of the API.
async fn retire_providers(conn: &mut Conn, declared: &[(ProviderId, Uuid)], now: Timestamp) -> Result<bool> {
    let rows: Vec<ProviderRow> = ai_providers::table
        .filter(ai_providers::deleted.eq(false).and(ai_providers::source.eq("config")))
        .select(ProviderRow::as_select())
        .load(conn)
        .await?;
    let mut changed = false;
    for row in rows.into_iter().filter(|row| !declared.iter().any(|(_, id)| *id == row.id.0)) {
        let id = row.id;
        let deleted = !refers(conn, id, Some(Source::Api)).await?;
        let mut provider = row.record()?;
        provider.updated_at = now;
        if !deleted {
            provider.source = Source::Api;
            provider.enabled = false;
        }
        diesel::update(ai_providers::table.find(id))
            .set(ProviderRow::new(provider, deleted))
            .execute(conn)
            .await?;
        changed = true;
    }
    Ok(changed)
}
