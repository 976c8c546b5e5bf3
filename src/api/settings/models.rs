//! `/chats/config/model-override/{context}`: models that the administrator sets for what nobody picks a
//! model for.

use super::{effort, only_administrators, read, settable, settable_text};
use crate::{
    api::{
        auth::Caller,
        body,
        doc::Doc,
        problem::{Problem, Result},
        state::ApiState,
    },
    store::settings::{Deployment, ModelOverride, ModelUse},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A model that is set, or not.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelOverride)]
pub struct ModelOverrideOut {
    context: ModelUse,
    /// Empty: none is set.
    model_config_id: String,
    /// The model that is set is gone or disabled.
    is_malformed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<String>,
}

impl ModelOverrideOut {
    /// What is set for something.
    pub(super) fn new(state: &ApiState, all: &Deployment, context: ModelUse) -> Self {
        let set = all.model_overrides.get(&context);
        Self {
            context,
            model_config_id: set.map(|set| set.model_config_id.to_string()).unwrap_or_default(),
            is_malformed: set
                .is_some_and(|set| settable(&state.catalog.current(), set.model_config_id).is_err()),
            reasoning_effort: set.and_then(|set| set.reasoning_effort.clone()),
        }
    }
}

/// A model to set.
#[derive(Deserialize, ToSchema)]
#[schema(as = SetModelOverride)]
pub struct ModelOverrideIn {
    /// Empty: none.
    model_config_id: String,
    reasoning_effort: Option<String>,
}

fn context(text: &str) -> Result<ModelUse> {
    ModelUse::parse(text).ok_or_else(|| {
        Problem::not_found("Model override").detail("The contexts are general, explore and title_generation.")
    })
}

/// What the OpenAPI document says of it.
pub const GET: Doc =
    Doc::new("The model set for subagents or titles").replies::<ModelOverrideOut>().errors(&[404]);

/// Shows the model that is set for something.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    caller.require_admin(|| Problem::not_found("Setting"))?;
    Ok(body::ok(&ModelOverrideOut::new(&state, &state.live.current(), context(&path)?)))
}

/// What the OpenAPI document says of it.
pub const PUT: Doc =
    Doc::new("Set the model for subagents or titles").takes::<ModelOverrideIn>().errors(&[400, 404, 413]);

/// Sets the model for something.
pub async fn put(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    caller.require_admin(only_administrators)?;
    let context = context(&path)?;
    let body: ModelOverrideIn = read(&request, payload).await?;
    let model = match body.model_config_id.trim() {
        "" => None,
        text => Some(ModelOverride {
            model_config_id: settable_text(&state, text).await?,
            reasoning_effort: effort(body.reasoning_effort)?,
        }),
    };
    state.live.put_model(context, model, state.clock.now()).await?;
    Ok(body::no_content())
}
