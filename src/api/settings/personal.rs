//! `/chats/config/user-personal-model-overrides`: models that users set for themselves, where the
//! administrator allows it.

use super::{effort, models::ModelOverrideOut, read, settable, settable_text};
use crate::{
    api::{
        auth::Caller,
        body,
        doc::Doc,
        problem::{Problem, Result},
        state::ApiState,
    },
    store::settings::{ModelUse, OverrideMode, PersonalOverride, PersonalUse, UserSettings},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the caller has set.
#[derive(Serialize, ToSchema)]
pub struct PersonalOverrides {
    /// Whether the administrator allows it.
    enabled: bool,
    root: PersonalOverrideOut,
    general: PersonalOverrideOut,
    explore: PersonalOverrideOut,
    deployment_defaults: DeploymentDefaults,
}

/// A model that the caller has set, or not.
#[derive(Serialize, ToSchema)]
#[schema(as = PersonalOverride)]
pub struct PersonalOverrideOut {
    context: PersonalUse,
    mode: OverrideMode,
    /// Empty but for the mode `model`.
    model_config_id: String,
    /// False: this is the default.
    is_set: bool,
    /// The model is gone or disabled.
    is_malformed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<String>,
}

/// What holds where the caller leaves it to the administrator.
#[derive(Serialize, ToSchema)]
pub struct DeploymentDefaults {
    general: ModelOverrideOut,
    explore: ModelOverrideOut,
}

/// A model to set.
#[derive(Deserialize, ToSchema)]
#[schema(as = SetPersonalOverride)]
pub struct PersonalOverrideIn {
    mode: OverrideMode,
    /// With the mode `model` only.
    #[serde(default)]
    model_config_id: String,
    reasoning_effort: Option<String>,
}

fn shown(state: &ApiState, own: &UserSettings, context: PersonalUse) -> PersonalOverrideOut {
    let set = own.overrides.get(&context);
    let unset = match context {
        PersonalUse::Root => OverrideMode::ChatDefault,
        PersonalUse::General | PersonalUse::Explore => OverrideMode::DeploymentDefault,
    };
    let model = set.and_then(|set| set.model_config_id);
    PersonalOverrideOut {
        context,
        mode: set.map_or(unset, |set| set.mode),
        model_config_id: model.map(|id| id.to_string()).unwrap_or_default(),
        is_set: set.is_some(),
        is_malformed: model.is_some_and(|id| settable(&state.catalog.current(), id).is_err()),
        reasoning_effort: set.and_then(|set| set.reasoning_effort.clone()),
    }
}

/// What the OpenAPI document says of it.
pub const GET: Doc = Doc::new("Models that the caller has set").replies::<PersonalOverrides>();

/// Shows what the caller has set.
pub async fn get(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    let (all, own) = (state.live.current(), state.live.user(caller.user.id).await?);
    Ok(body::ok(&PersonalOverrides {
        enabled: all.personal_model_overrides.allow_users,
        root: shown(&state, &own, PersonalUse::Root),
        general: shown(&state, &own, PersonalUse::General),
        explore: shown(&state, &own, PersonalUse::Explore),
        deployment_defaults: DeploymentDefaults {
            general: ModelOverrideOut::new(&state, &all, ModelUse::General),
            explore: ModelOverrideOut::new(&state, &all, ModelUse::Explore),
        },
    }))
}

/// What the OpenAPI document says of it.
pub const PUT: Doc = Doc::new("Set a model for the caller's new chats or subagents")
    .takes::<PersonalOverrideIn>()
    .errors(&[400, 404, 413]);

/// Sets a model for the caller.
pub async fn put(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let context = PersonalUse::parse(&path).ok_or_else(|| {
        Problem::not_found("Model override").detail("The contexts are root, general and explore.")
    })?;
    if !state.live.current().personal_model_overrides.allow_users {
        return Err(Problem::forbidden("The administrator does not let users set models of their own."));
    }
    let body: PersonalOverrideIn = read(&request, payload).await?;
    if context == PersonalUse::Root && body.mode == OverrideMode::DeploymentDefault {
        let rule = "mode must be chat_default or model for new chats.";
        return Err(Problem::field("mode", rule));
    }
    let own = body.mode == OverrideMode::Model;
    let model_config_id = match body.model_config_id.trim() {
        "" if own => {
            return Err(Problem::field(
                "model_config_id",
                "model_config_id is required with the mode model.",
            ));
        }
        "" => None,
        text if own => Some(settable_text(&state, text).await?),
        _ => {
            let rule = "model_config_id goes with the mode model only; leave it out or empty.";
            return Err(Problem::field("model_config_id", rule));
        }
    };
    let reasoning_effort = effort(body.reasoning_effort)?.filter(|_| own);
    let value = PersonalOverride { mode: body.mode, model_config_id, reasoning_effort };
    state.live.put_user(caller.user.id, context.key(), &value).await?;
    Ok(body::no_content())
}
