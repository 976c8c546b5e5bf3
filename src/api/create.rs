//! `POST /chats` (api.md §2.3).

use super::{
    auth::Caller,
    body,
    chat_out::ChatOut,
    commit::{self, Key, Render},
    content::{self, InputPart},
    doc::{Doc, IDEMPOTENCY_KEY},
    files::{self, FileOut},
    labels,
    picks::Picks,
    problem::{Problem, Result},
    state::ApiState,
    workspaces,
};
use crate::{
    chat::{
        json::Json,
        message::{NewMessage, Part, Role, Visibility},
    },
    ids::{ChatId, McpServerId, ModelConfigId, OrganizationId, UserId, WorkspaceId},
    store::{commit::Created, files::FileRecord, records::NewChat},
    turn::{
        prompt::{instructions, sanitize::sanitize},
        title,
    },
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};
use utoipa::ToSchema;

/// Most client-run tools of a chat (api.md §1.7).
const MAX_DYNAMIC_TOOLS: usize = 250;

/// A chat to create (api.md §2.3).
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CreateChat)]
pub struct CreateBody {
    #[schema(required = true)]
    organization_id: Option<OrganizationId>,
    #[schema(required = true)]
    content: Option<Vec<InputPart>>,
    system_prompt: Option<String>,
    workspace_id: Option<WorkspaceId>,
    model_config_id: Option<ModelConfigId>,
    reasoning_effort: Option<String>,
    mcp_server_ids: Option<Vec<McpServerId>>,
    plan_mode: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    unsafe_dynamic_tools: Option<Vec<DynamicTool>>,
    client_type: Option<String>,
}

/// A tool that the API client runs; `input_schema` goes to the model as it is.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct DynamicTool {
    #[serde(default)]
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// A JSON Schema object; without one the tool takes no arguments.
    #[serde(default)]
    input_schema: Option<Json>,
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Create a chat and start its first turn")
    .takes::<CreateBody>()
    .replies::<ChatOut<'static>>()
    .params(&[IDEMPOTENCY_KEY])
    .errors(&[400, 403, 409, 413]);

/// Creates a chat and starts its first turn.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let key = Key::of(&request, &caller, &body)?;
    let (new, files) = match new_chat(&state, &caller, body::parse(&body)?).await {
        Ok(new) => new,
        Err(problem) => return commit::unless_done(&state, key, problem).await,
    };
    let owner = Arc::clone(&caller.user);
    let render: Render<Created> = Arc::new(move |done| {
        let linked = files.iter().filter(|file| !done.unlinked.contains(&file.id));
        let chat = ChatOut::new(&done.chat)
            .of_owner(&owner)
            .with_files(linked.cloned().map(FileOut::from))
            .with_warnings(files::warnings(&done.unlinked));
        (201, Json::of(&chat))
    });
    let key = key.map(|key| key.with(&render));
    let (store, now) = (state.store.clone(), state.clock.now());
    let done = commit::to_its_end(async move { store.create_chat(new, now, key).await });
    let done = done.await.map_err(Problem::of_chat)?;
    commit::answer(done, &render)
}

/// The chat to be created, and the files it names.
async fn new_chat(state: &ApiState, caller: &Caller, body: CreateBody) -> Result<(NewChat, Vec<FileRecord>)> {
    let organization_id = body
        .organization_id
        .filter(|id| !id.0.is_nil())
        .ok_or_else(|| Problem::field("organization_id", "organization_id is required."))?;
    match state.store.member(organization_id, caller.user.id).await? {
        None => return Err(Problem::forbidden("You are not a member of this organization.")),
        Some(member) if !member.agents_access && !caller.user.is_owner() => {
            let why = "You may not create chats in this organization.";
            return Err(
                Problem::forbidden(why).detail("An administrator can give you the role agents-access.")
            );
        }
        Some(_) => {}
    }
    let mut parts = content::parts(body.content.unwrap_or_default())?;
    let picks = Picks {
        model_config_id: body.model_config_id,
        reasoning_effort: body.reasoning_effort,
        // Also without a pick: some servers belong to every chat.
        mcp_server_ids: Some(body.mcp_server_ids.unwrap_or_default()),
        plan_mode: body.plan_mode,
    }
    .checked(state, caller.user.id)
    .await?;
    let labels = labels::stored(&body.labels.unwrap_or_default())?;
    let dynamic_tools = dynamic_tools(body.unsafe_dynamic_tools.unwrap_or_default())?;
    let client_type = match body.client_type.as_deref() {
        None | Some("api") => "api",
        Some("ui") => "ui",
        Some(_) => return Err(Problem::field("client_type", "client_type must be ui or api.")),
    };
    let workspace_id = body.workspace_id;
    if let Some(workspace) = workspace_id {
        workspaces::bindable(state, workspace, caller.user.id, organization_id).await?;
    }
    let files = files::resolve(state, caller, organization_id, &mut parts).await?;
    let (model_config_id, own_effort) = match picks.model_config_id {
        Some(id) => (id, None),
        None => match personal_model(state, caller).await? {
            Some(own) => own,
            None => (default_model(state, caller.user.id).await?, None),
        },
    };
    let title = title::first(&title::text(&parts));
    let deployment = instructions::deployment_prompt(&state.live.current().system_prompt);
    let attached = workspace_id.is_some();
    let workspaces = attached || state.live.has_templates();
    let awareness = workspaces.then(|| instructions::awareness(attached).to_owned());
    let mut initial: Vec<NewMessage> = [deployment, body.system_prompt, awareness]
        .into_iter()
        .flatten()
        .map(|text| sanitize(&text))
        .filter(|text| !text.is_empty())
        .map(|text| NewMessage::new(Role::System, Visibility::Model, &[Part::Text { text }]))
        .collect();
    initial.push(NewMessage {
        created_by: Some(caller.user.id),
        model_config_id: Some(model_config_id),
        ..NewMessage::new(Role::User, Visibility::Both, &parts)
    });
    let new = NewChat {
        workspace_id,
        id: ChatId::fresh(),
        organization_id,
        owner_id: caller.user.id,
        title,
        model_config_id,
        reasoning_effort: picks.reasoning_effort.or(own_effort),
        plan_mode: picks.plan_mode.flatten(),
        client_type: client_type.to_owned(),
        labels,
        mcp_server_ids: picks.mcp_server_ids.unwrap_or_else(|| Json::of::<[u8]>(&[])),
        dynamic_tools,
        files: files.iter().map(|file| file.id).collect(),
        initial,
    };
    Ok((new, files))
}

/// The model that the caller has set for new chats, with its effort, as long as that is allowed and the
/// model can be used: api.md §2.3.
async fn personal_model(
    state: &ApiState,
    caller: &Caller,
) -> Result<Option<(ModelConfigId, Option<String>)>> {
    if !state.live.current().personal_model_overrides.allow_users {
        return Ok(None);
    }
    let own = state.live.user(caller.user.id).await?;
    let catalog = state.catalog.current();
    let usable = own.root_model().filter(|(id, _)| catalog.usable(*id, caller.user.id).is_ok());
    Ok(usable.map(|(id, effort)| (id, effort.map(str::to_owned))))
}

async fn default_model(state: &ApiState, user: UserId) -> Result<ModelConfigId> {
    let found = state.catalog.checked(|catalog| {
        let model = catalog.default_model().ok_or_else(|| {
            Problem::field(
                "model_config_id",
                "No model is configured. Add a provider and a model, or declare them in the configuration file.",
            )
        })?;
        match model.usable_by(user) {
            Ok(()) => Ok(model.id()),
            Err(why) => {
                let detail = format!("The default model {:?} cannot be used: {why}.", model.display_name());
                Err(Problem::field("model_config_id", detail))
            }
        }
    });
    found.await?
}

/// Checks the client-run tools; none is the same as an empty list. A schema that is left out, or `null` as clients in Go
/// write it, is that of a tool without arguments.
fn dynamic_tools(mut tools: Vec<DynamicTool>) -> Result<Option<Json>> {
    let wrong = |detail: String| Problem::field("unsafe_dynamic_tools", detail);
    if tools.len() > MAX_DYNAMIC_TOOLS {
        return Err(wrong(format!("At most {MAX_DYNAMIC_TOOLS} tools are allowed.")));
    }
    let mut names = HashSet::new();
    for (index, tool) in tools.iter_mut().enumerate() {
        if tool.name.trim().is_empty() {
            return Err(wrong(format!("unsafe_dynamic_tools[{index}].name must not be blank.")));
        }
        if !names.insert(tool.name.clone()) {
            return Err(wrong(format!("unsafe_dynamic_tools[{index}].name {:?} is given twice.", tool.name)));
        }
        // Read into a map, which also bounds how deep it is nested.
        let schema = tool.input_schema.get_or_insert_with(|| Json::of(&Map::new()));
        if schema.read::<Map<String, Value>>().is_err() {
            let rule = "must be a JSON object, nested at most 127 deep";
            return Err(wrong(format!("unsafe_dynamic_tools[{index}].input_schema {rule}.")));
        }
    }
    Ok((!tools.is_empty()).then(|| Json::of(&tools)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<Option<Json>> {
        dynamic_tools(body::of_text::<Vec<_>>(json)?)
    }

    #[test]
    fn tools_are_unique_and_have_a_schema() {
        let good = r#"[{"name":"a","input_schema":{"type":"object", "z":1}},{"name":"b","description":"d","input_schema":{}}]"#;
        let stored = check(good).unwrap().unwrap();
        assert!(stored.get().contains(r#"{"type":"object", "z":1}"#), "{stored:?}");
        assert_eq!(check("[]").unwrap(), None);
        for plain in [r#"[{"name":"a"}]"#, r#"[{"name":"a","description":null,"input_schema":null}]"#] {
            assert_eq!(check(plain).unwrap().unwrap().get(), r#"[{"name":"a","input_schema":{}}]"#);
        }
        for bad in [
            r#"[{"name":" ","input_schema":{}}]"#,
            r#"[{"input_schema":{}}]"#,
            r#"[{"name":"a","input_schema":{}},{"name":"a","input_schema":{}}]"#,
            r#"[{"name":"a","input_schema":[]}]"#,
            &format!(r#"[{{"name":"a","input_schema":{{"a":{}{}}}}}]"#, "[".repeat(500), "]".repeat(500)),
        ] {
            assert_eq!(check(bad).unwrap_err().status().as_u16(), 400, "{bad}");
        }
        let many = |n: usize| {
            (0..n).map(|i| format!(r#"{{"name":"t{i}","input_schema":{{}}}}"#)).collect::<Vec<_>>().join(",")
        };
        assert!(check(&format!("[{}]", many(250))).is_ok());
        assert!(check(&format!("[{}]", many(251))).is_err());
    }
}
