//! What administrators and users have set, as rows of JSON.

use super::Conn;
use crate::{
    chat::json::Json,
    clock::Timestamp,
    ids::{ModelConfigId, UserId},
    store::{
        error::Result,
        schema::{deployment_settings, user_compaction_thresholds as thresholds, user_settings},
        types::{Id, Raw, Ts},
    },
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

fn plain(rows: Vec<(String, Raw)>) -> Vec<(String, Json)> {
    rows.into_iter().map(|(key, value)| (key, value.0)).collect()
}

/// Every setting of the deployment that was set.
pub async fn deployment(conn: &mut Conn) -> Result<Vec<(String, Json)>> {
    let rows = deployment_settings::table
        .select((deployment_settings::key, deployment_settings::value))
        .load(conn)
        .await?;
    Ok(plain(rows))
}

/// Sets a setting of the deployment.
pub async fn put(conn: &mut Conn, key: String, value: Json, now: Timestamp) -> Result<()> {
    let change = (deployment_settings::value.eq(Raw(value)), deployment_settings::updated_at.eq(Ts(now)));
    diesel::insert_into(deployment_settings::table)
        .values((deployment_settings::key.eq(key), change.clone()))
        .on_conflict(deployment_settings::key)
        .do_update()
        .set(change)
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes a setting of the deployment back to its default.
pub async fn remove(conn: &mut Conn, key: String) -> Result<()> {
    diesel::delete(deployment_settings::table.find(key)).execute(conn).await?;
    Ok(())
}

/// Everything a user has set: settings by key, compaction thresholds in percent by model.
pub async fn of_user(
    conn: &mut Conn,
    user: UserId,
) -> Result<(Vec<(String, Json)>, Vec<(ModelConfigId, i64)>)> {
    let settings = user_settings::table
        .filter(user_settings::user_id.eq(Id(user.0)))
        .select((user_settings::key, user_settings::value))
        .load(conn)
        .await?;
    let rows: Vec<(Id, i64)> = thresholds::table
        .filter(thresholds::user_id.eq(Id(user.0)))
        .select((thresholds::model_config_id, thresholds::threshold_percent))
        .load(conn)
        .await?;
    Ok((plain(settings), rows.into_iter().map(|(id, percent)| (ModelConfigId(id.0), percent)).collect()))
}

/// Sets a setting of a user.
pub async fn put_of_user(conn: &mut Conn, user: UserId, key: String, value: Json) -> Result<()> {
    let change = user_settings::value.eq(Raw(value));
    diesel::insert_into(user_settings::table)
        .values((user_settings::user_id.eq(Id(user.0)), user_settings::key.eq(key), change.clone()))
        .on_conflict((user_settings::user_id, user_settings::key))
        .do_update()
        .set(change)
        .execute(conn)
        .await?;
    Ok(())
}

/// Sets a user's compaction threshold for a model.
pub async fn put_threshold(conn: &mut Conn, user: UserId, model: ModelConfigId, percent: i64) -> Result<()> {
    let change = thresholds::threshold_percent.eq(percent);
    diesel::insert_into(thresholds::table)
        .values((thresholds::user_id.eq(Id(user.0)), thresholds::model_config_id.eq(Id(model.0)), change))
        .on_conflict((thresholds::user_id, thresholds::model_config_id))
        .do_update()
        .set(change)
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes a user's compaction threshold for a model; false when there was none.
pub async fn remove_threshold(conn: &mut Conn, user: UserId, model: ModelConfigId) -> Result<bool> {
    let gone = diesel::delete(thresholds::table.find((Id(user.0), Id(model.0)))).execute(conn).await?;
    Ok(gone > 0)
}
