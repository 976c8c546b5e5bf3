//! What was recorded of model calls (api.md §2.15), for the owner of the chat and for administrators.

use super::{
    access::{self, Right},
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    query::path_id,
    state::ApiState,
};
use crate::{
    chat::json::Json,
    clock::Timestamp,
    ids::{ChatId, MessageId, ModelConfigId},
    store::records::debug::{DebugRun, DebugStep},
};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A run: the model calls for one purpose.
#[derive(Serialize, ToSchema)]
#[schema(as = DebugRun)]
pub struct RunOut {
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    chat_id: ChatId,
    kind: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[schema(value_type = Object)]
    summary: Json,
    started_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_chat_id: Option<ChatId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_chat_id: Option<ChatId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_config_id: Option<ModelConfigId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger_message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_tip_message_id: Option<MessageId>,
    /// Left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<StepOut>>,
}

/// A step: one model call with all its attempts.
#[derive(Serialize, ToSchema)]
#[schema(as = DebugStep)]
pub struct StepOut {
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    #[schema(value_type = String, format = "uuid")]
    run_id: Uuid,
    chat_id: ChatId,
    step_number: i64,
    operation: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_tip_message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assistant_message_id: Option<MessageId>,
    #[schema(value_type = Object)]
    normalized_request: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    normalized_response: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    usage: Option<Json>,
    #[schema(value_type = Vec<Object>)]
    attempts: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    error: Option<Json>,
    #[schema(value_type = Object)]
    metadata: Json,
    started_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
}

impl RunOut {
    /// As it stands in a list.
    fn listed(run: DebugRun) -> Self {
        Self {
            id: run.id,
            chat_id: run.chat_id,
            kind: run.kind.as_str(),
            status: run.status.as_str(),
            provider: run.provider,
            model: run.model,
            summary: run.summary,
            started_at: run.started_at,
            updated_at: run.updated_at,
            finished_at: run.finished_at,
            root_chat_id: None,
            parent_chat_id: None,
            model_config_id: None,
            trigger_message_id: None,
            history_tip_message_id: None,
            steps: None,
        }
    }

    fn whole(run: DebugRun, steps: Vec<DebugStep>) -> Self {
        Self {
            root_chat_id: run.root_chat_id,
            parent_chat_id: run.parent_chat_id,
            model_config_id: run.model_config_id,
            trigger_message_id: run.trigger_message_id,
            history_tip_message_id: run.history_tip_message_id,
            steps: Some(steps.into_iter().map(StepOut::from).collect()),
            ..Self::listed(run)
        }
    }
}

impl From<DebugStep> for StepOut {
    fn from(step: DebugStep) -> Self {
        Self {
            id: step.id,
            run_id: step.run_id,
            chat_id: step.chat_id,
            step_number: step.step_number,
            operation: step.operation,
            status: step.status.as_str(),
            history_tip_message_id: step.history_tip_message_id,
            assistant_message_id: step.assistant_message_id,
            normalized_request: step.normalized_request,
            normalized_response: step.normalized_response,
            usage: step.usage,
            attempts: step.attempts,
            error: step.error,
            metadata: step.metadata,
            started_at: step.started_at,
            updated_at: step.updated_at,
            finished_at: step.finished_at,
        }
    }
}

/// What the OpenAPI document says of it.
pub const RUNS: Doc =
    Doc::new("The newest 100 debug runs of a chat").replies::<Vec<RunOut>>().errors(&[400, 404]);

/// The newest runs of a chat.
pub async fn runs(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat = access::only_id(&state, &caller, &path, Right::Update).await?;
    let runs = state.store.debug_runs(chat).await?;
    Ok(body::ok(&runs.into_iter().map(RunOut::listed).collect::<Vec<_>>()))
}

/// What the OpenAPI document says of it.
pub const RUN: Doc = Doc::new("A debug run with its steps").replies::<RunOut>().errors(&[400, 404]);

/// A run with its steps.
pub async fn run(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    let (chat, run) = path.into_inner();
    let chat = access::only_id(&state, &caller, &chat, Right::Update).await?;
    let run: Uuid = path_id(&run, "debug run")?;
    let found = state.store.debug_run(chat, run).await.map_err(|e| Problem::of_store(e, "Debug run"))?;
    let (run, steps) = found;
    Ok(body::ok(&RunOut::whole(run, steps)))
}
