//! What people pick with a message: model, effort, MCP servers, plan mode.

use super::{
    problem::{Problem, Result},
    state::ApiState,
};
use crate::{
    chat::json::Json,
    config::models::REASONING_EFFORTS,
    ids::{McpServerId, ModelConfigId, UserId},
    store::commit::MetaChange,
};

/// The picks of a request. What is missing or `null` keeps what the chat has.
///
/// Bodies name these keys themselves: a flattened struct would lose the path of a wrong field.
#[derive(Debug, Clone, Default)]
pub struct Picks {
    /// Model.
    pub model_config_id: Option<ModelConfigId>,
    /// Effort.
    pub reasoning_effort: Option<String>,
    /// MCP servers; an empty list clears.
    pub mcp_server_ids: Option<Vec<McpServerId>>,
    /// `plan`, or empty to clear.
    pub plan_mode: Option<String>,
}

impl Picks {
    /// Checks them for this user.
    ///
    /// # Errors
    /// 400 that names the field.
    pub async fn checked(self, state: &ApiState, user: UserId) -> Result<MetaChange> {
        if let Some(id) = self.model_config_id {
            model(state, id, user).await?;
        }
        if let Some(effort) = &self.reasoning_effort
            && !REASONING_EFFORTS.contains(&effort.as_str())
        {
            let all = REASONING_EFFORTS.join(", ");
            return Err(Problem::field(
                "reasoning_effort",
                format!("reasoning_effort must be one of {all}."),
            ));
        }
        Ok(MetaChange {
            model_config_id: self.model_config_id,
            reasoning_effort: self.reasoning_effort,
            plan_mode: self.plan_mode.as_deref().map(plan_mode).transpose()?,
            mcp_server_ids: match self.mcp_server_ids {
                Some(ids) => Some(servers(state, ids).await?),
                None => None,
            },
        })
    }
}

async fn model(state: &ApiState, id: ModelConfigId, user: UserId) -> Result<()> {
    let wrong = |why: String| Problem::field("model_config_id", why);
    if id.0.is_nil() {
        return Err(wrong("model_config_id must not be the nil UUID.".into()));
    }
    let usable = state.catalog.checked(|catalog| catalog.usable(id, user).map(drop)).await?;
    usable.map_err(|why| wrong(format!("model_config_id cannot be used: {why}.")))
}

/// `plan` sets, the empty text clears.
///
/// # Errors
/// 400 for anything else.
pub fn plan_mode(text: &str) -> Result<Option<String>> {
    match text {
        "" => Ok(None),
        "plan" => Ok(Some("plan".into())),
        _ => Err(Problem::field("plan_mode", "plan_mode must be \"plan\" or empty.")),
    }
}

/// The picked servers and those that every chat has.
///
/// # Errors
/// 400 that names those that are unknown or disabled.
pub async fn servers(state: &ApiState, ids: Vec<McpServerId>) -> Result<Json> {
    let pickable = state.mcp_servers.pickable(&state.store).await?;
    let all = pickable.with_forced(ids).map_err(|bad| {
        let bad: Vec<String> = bad.iter().map(ToString::to_string).collect();
        let detail = format!("These MCP servers do not exist or are disabled: {}.", bad.join(", "));
        Problem::field("mcp_server_ids", detail)
    })?;
    Ok(Json::of(&all))
}
