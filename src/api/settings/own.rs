//! What users set for themselves: their prompt, their compaction thresholds, whether their model calls are
//! recorded.

use super::{prompt, read, settable};
use crate::{
    api::{
        auth::Caller,
        body,
        doc::Doc,
        problem::{Problem, Result},
        query::path_id,
        state::ApiState,
    },
    ids::ModelConfigId,
    llm::catalog::Unusable,
    store::settings::{UserDebugLogging, UserPrompt, UserSettings},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the OpenAPI document says of it.
pub const GET_PROMPT: Doc = Doc::new("What the caller tells every model").replies::<UserPrompt>();

/// Shows the caller's prompt.
pub async fn get_prompt(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    Ok(body::ok(&state.live.user(caller.user.id).await?.prompt))
}

/// What the OpenAPI document says of it.
pub const PUT_PROMPT: Doc = Doc::new("Set what the caller tells every model")
    .takes::<UserPrompt>()
    .replies::<UserPrompt>()
    .errors(&[400, 413]);

/// Sets the caller's prompt and answers with what is stored.
pub async fn put_prompt(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let body: UserPrompt = read(&request, payload).await?;
    let stored = UserPrompt { custom_prompt: prompt("custom_prompt", &body.custom_prompt)? };
    state.live.put_user(caller.user.id, UserSettings::PROMPT.to_owned(), &stored).await?;
    Ok(body::ok(&stored))
}

/// The caller's compaction thresholds.
#[derive(Serialize, ToSchema)]
pub struct Thresholds {
    thresholds: Vec<Threshold>,
}

/// A compaction threshold.
#[derive(Serialize, ToSchema)]
pub struct Threshold {
    model_config_id: ModelConfigId,
    /// Percent of the context; 100: never.
    #[schema(minimum = 0, maximum = 100)]
    threshold_percent: i64,
}

/// A compaction threshold to set.
#[derive(Deserialize, ToSchema)]
pub struct SetThreshold {
    /// Percent of the context; 100: never.
    #[schema(minimum = 0, maximum = 100)]
    threshold_percent: i64,
}

/// What the OpenAPI document says of it.
pub const LIST_THRESHOLDS: Doc = Doc::new("The caller's compaction thresholds").replies::<Thresholds>();

/// Shows the caller's compaction thresholds.
pub async fn list_thresholds(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    let own = state.live.user(caller.user.id).await?;
    let threshold = |(id, percent): (&ModelConfigId, &i64)| Threshold {
        model_config_id: *id,
        threshold_percent: *percent,
    };
    Ok(body::ok(&Thresholds { thresholds: own.thresholds.iter().map(threshold).collect() }))
}

/// What the OpenAPI document says of it.
pub const PUT_THRESHOLD: Doc = Doc::new("Set the caller's compaction threshold for a model")
    .takes::<SetThreshold>()
    .replies::<Threshold>()
    .errors(&[400, 404, 413]);

/// Sets the caller's compaction threshold for a model.
pub async fn put_threshold(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let id: ModelConfigId = path_id(&path, "model")?;
    match state.catalog.checked(|catalog| settable(catalog, id)).await? {
        Err(Unusable::Unknown) => return Err(Problem::not_found("Model")),
        Err(why) => return Err(Problem::bad_request("The model cannot be used.").detail(format!("{why}."))),
        Ok(()) => {}
    }
    let SetThreshold { threshold_percent } = read(&request, payload).await?;
    if !(0..=100).contains(&threshold_percent) {
        let rule = "threshold_percent must be between 0 and 100.";
        return Err(Problem::field("threshold_percent", rule));
    }
    state.live.put_threshold(caller.user.id, id, threshold_percent).await?;
    Ok(body::ok(&Threshold { model_config_id: id, threshold_percent }))
}

/// What the OpenAPI document says of it.
pub const DELETE_THRESHOLD: Doc =
    Doc::new("Remove the caller's compaction threshold for a model").errors(&[400, 404]);

/// Removes one, also of a model that is gone. Where none was set nothing happens.
pub async fn delete_threshold(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let id: ModelConfigId = path_id(&path, "model")?;
    let was_set = state.live.drop_threshold(caller.user.id, id).await?;
    if !was_set && settable(&state.catalog.current(), id) == Err(Unusable::Unknown) {
        return Err(Problem::not_found("Model"));
    }
    Ok(body::no_content())
}

/// Whether the caller's model calls are recorded.
#[derive(Serialize, ToSchema)]
pub struct UserDebugLoggingOut {
    /// Yes or no, whoever decided it.
    debug_logging_enabled: bool,
    /// Whether the caller may decide it.
    user_toggle_allowed: bool,
    /// The configuration file has all of them recorded.
    forced_by_deployment: bool,
}

/// What the OpenAPI document says of it.
pub const GET_DEBUG: Doc =
    Doc::new("Whether the caller's model calls are recorded").replies::<UserDebugLoggingOut>();

/// Shows whether the caller's model calls are recorded.
pub async fn get_debug(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    let all = state.live.current();
    Ok(body::ok(&UserDebugLoggingOut {
        debug_logging_enabled: state.live.debug_enabled(caller.user.id).await?,
        user_toggle_allowed: all.debug_logging.allow_users && !all.debug_forced,
        forced_by_deployment: all.debug_forced,
    }))
}

/// What the OpenAPI document says of it.
pub const PUT_DEBUG: Doc = Doc::new("Set whether the caller's model calls are recorded")
    .takes::<UserDebugLogging>()
    .errors(&[400, 409, 413]);

/// Sets whether the caller's model calls are recorded.
pub async fn put_debug(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let all = state.live.current();
    if all.debug_forced {
        return Err(Problem::conflict("The configuration of this server has all model calls recorded."));
    }
    if !all.debug_logging.allow_users {
        return Err(Problem::forbidden("The administrator does not let users have model calls recorded."));
    }
    let value: UserDebugLogging = read(&request, payload).await?;
    state.live.put_user(caller.user.id, UserSettings::DEBUG_LOGGING.to_owned(), &value).await?;
    Ok(body::no_content())
}
