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
    pub fn checked(self, state: &ApiState, user: UserId) -> Result<MetaChange> {
        if let Some(id) = self.model_config_id {
            model(state, id, user)?;
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
            mcp_server_ids: self.mcp_server_ids.map(|ids| servers(state, ids)).transpose()?,
        })
    }
}

fn model(state: &ApiState, id: ModelConfigId, user: UserId) -> Result<()> {
    let wrong = |why: String| Problem::field("model_config_id", why);
    if id.0.is_nil() {
        return Err(wrong("model_config_id must not be the nil UUID.".into()));
    }
    match state.catalog.current().usable(id, user) {
        Ok(_) => Ok(()),
        Err(why) => Err(wrong(format!("model_config_id cannot be used: {why}."))),
    }
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

fn servers(state: &ApiState, mut ids: Vec<McpServerId>) -> Result<Json> {
    let known = &state.settings.mcp_servers;
    let bad: Vec<String> = ids.iter().filter(|id| !known.contains(id)).map(ToString::to_string).collect();
    if !bad.is_empty() {
        let detail = format!("These MCP servers do not exist or are disabled: {}.", bad.join(", "));
        return Err(Problem::field("mcp_server_ids", detail));
    }
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(*id));
    Ok(Json::of(&ids))
}
