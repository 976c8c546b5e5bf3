//! `create_workspace`: a workspace for the chat, unless it has one that can be used (tools.md §9.3).

use super::{
    Repeat, Session, Tool, ToolContext, arguments,
    building::{self, Built, Readiness},
    outcome::ToolOutcome,
    templates,
};
use crate::{
    bus::Notice,
    chat::json::Json,
    ids::{BuildId, TemplateId, WorkspaceId},
    store::{
        self, names,
        records::{
            ChatRecord,
            workspaces::{
                BuildReason, BuildStatus, NewBuild, TemplateKind, Transition, WorkspaceRecord, WorkspaceView,
            },
        },
    },
    workspace::status::{self, INACTIVE},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// Longest base of a name that is made up, in characters (tools.md §9.3).
const BASE: usize = 27;
/// Names that are made up before it is given up: each has four random hexadecimal digits.
const TRIES: usize = 5;

/// The tool.
#[derive(Debug, Clone, Copy)]
pub struct CreateWorkspace;

#[derive(Deserialize)]
struct Args {
    template_id: String,
    name: Option<String>,
    parameters: Option<BTreeMap<String, String>>,
    preset_id: Option<String>,
}

#[derive(Serialize)]
struct Created {
    created: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    workspace_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<BuildId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    #[serde(flatten)]
    readiness: Readiness,
}

async fn create(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: Args = arguments::parse(args)?;
    let session = building::session(ctx)?;
    arguments::required("template_id", &args.template_id)?;
    let _alone = session.building.lock().await;
    let store = &session.connection.dialer().store;
    let chat = building::chat(ctx, store).await?;
    if let Some(there) = existing(session, &chat).await? {
        return Ok(there);
    }
    let template = templates::usable(session, &args.template_id).await?;
    if template.kind == TemplateKind::External {
        return Err(ToolOutcome::error(
            "the agent of a workspace from this template has to be started by a person, so no tool can create one. \
             Ask the user to create it, or take another template",
        ));
    }
    let answers = templates::questions(&template)?
        .answered(template.id, args.preset_id.as_deref(), &args.parameters.unwrap_or_default())
        .map_err(|why| ToolOutcome::error(format!("{why}; read_template shows what there is")))?;
    let asked = args.name.as_deref().map(str::trim).filter(|name| names::is_name(name));
    let view = match asked {
        Some(name) => made(session, &chat, (template.id, &answers), name.to_owned()).await?,
        None => {
            let base = base(args.name.as_deref(), &template.name);
            let mut tries = 0;
            loop {
                tries += 1;
                let name = format!("{base}-{:04x}", rand::random::<u16>());
                match made(session, &chat, (template.id, &answers), name).await {
                    Err(Made::Taken(_)) if tries < TRIES => {}
                    made => break made?,
                }
            }
        }
    };
    session.connection.release().await;
    store.bus().publish(Notice::Build { build: view.build.id });
    building::tell(store, &chat);
    let build_id = view.build.id;
    if let Built::Failed(outcome) = building::wait_for(store, build_id).await? {
        return Ok(outcome);
    }
    let readiness = building::ready(session, &chat, view.workspace.id).await?;
    Ok(ToolOutcome::ok(&Created {
        created: true,
        status: None,
        workspace_name: building::full_name(&view),
        build_id: Some(build_id),
        message: None,
        readiness,
    }))
}

/// The result when the chat has a workspace that it can go on with.
async fn existing(session: &Session, chat: &ChatRecord) -> Result<Option<ToolOutcome>, ToolOutcome> {
    let dialer = session.connection.dialer();
    let Some(id) = chat.workspace_id else { return Ok(None) };
    let Some(mut view) = building::workspace(&dialer.store, id).await? else { return Ok(None) };
    if !view.build.status.is_final() && view.build.transition != Transition::Delete {
        if let Built::Failed(outcome) = building::wait_for(&dialer.store, view.build.id).await? {
            return Ok(Some(outcome));
        }
        match building::workspace(&dialer.store, id).await? {
            Some(now) => view = now,
            None => return Ok(None),
        }
    }
    let workspace_name = building::full_name(&view);
    let answer = match (view.build.transition, view.build.status) {
        (Transition::Stop, BuildStatus::Succeeded) => Created {
            created: false,
            status: Some("stopped"),
            workspace_name,
            build_id: None,
            message: Some("the chat has a workspace that is stopped; use start_workspace to start it"),
            readiness: Readiness::default(),
        },
        (Transition::Start, BuildStatus::Succeeded) if usable(session, &view) => Created {
            created: false,
            status: Some("already_exists"),
            workspace_name,
            build_id: None,
            message: Some("the chat has a workspace already; it is used"),
            readiness: building::ready(session, chat, id).await?,
        },
        _ => return Ok(None),
    };
    Ok(Some(ToolOutcome::ok(&answer)))
}

/// Whether the agent is there or may still come.
fn usable(session: &Session, view: &WorkspaceView) -> bool {
    let now = session.connection.dialer().clock.now();
    match status::select(&view.agents) {
        Ok(agent) => !status::status(agent, INACTIVE, now).0.is_unreachable(),
        Err(_) => false,
    }
}

/// Why no workspace was made.
enum Made {
    /// The name is taken.
    Taken(ToolOutcome),
    /// Something else.
    Not(ToolOutcome),
}

impl From<Made> for ToolOutcome {
    fn from(made: Made) -> Self {
        match made {
            Made::Taken(outcome) | Made::Not(outcome) => outcome,
        }
    }
}

async fn made(
    session: &Session,
    chat: &ChatRecord,
    (template_id, answers): (TemplateId, &BTreeMap<String, String>),
    name: String,
) -> Result<WorkspaceView, Made> {
    let dialer = session.connection.dialer();
    let now = dialer.clock.now();
    let (id, build) = (WorkspaceId::fresh(), BuildId::fresh());
    let ttl_ms = Some(session.live.current().workspace_ttl.workspace_ttl_ms).filter(|ms| *ms > 0);
    let taken = format!("the owner has a workspace named {name:?} already; choose another name");
    let workspace = WorkspaceRecord {
        id,
        name,
        owner_id: chat.owner_id,
        organization_id: chat.organization_id,
        template_id,
        parameters: Json::of(answers),
        ttl_ms,
        deadline: None,
        last_used_at: now,
        latest_build_id: build,
        created_at: now,
        updated_at: now,
    };
    let build = NewBuild {
        id: build,
        workspace_id: id,
        transition: Transition::Start,
        reason: BuildReason::Chat,
        initiator_id: Some(chat.owner_id),
    };
    let max = session.workspaces_per_user;
    match dialer.store.create_workspace_for_chat(chat.head.id, workspace, build, max, now).await {
        Ok(view) => Ok(view),
        Err(store::Error::Duplicate(_)) => Err(Made::Taken(ToolOutcome::error(taken))),
        Err(store::Error::Conflict(_)) => Err(Made::Not(quota(max))),
        Err(e) => Err(Made::Not(building::failed(e))),
    }
}

/// No failure of the call: the model is to explain it.
fn quota(max: i64) -> ToolOutcome {
    ToolOutcome::ok(&json!({
        "error_code": "workspace_quota_exceeded",
        "error": "the owner of this chat has as many workspaces as one user may have",
        "title": "Workspace quota exceeded",
        "message": format!("A user may have {max} workspaces on this deployment, and this one has."),
        "next_steps": ["Ask the user to delete a workspace that is not needed any more, then try again."],
        "quota": {"workspaces": max},
    }))
}

/// What a name is made from that nobody gave, or that cannot be one.
fn base(asked: Option<&str>, template: &str) -> String {
    let plain = |text: &str| -> String {
        let kept = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
        let text: String = kept.collect();
        let words: Vec<&str> = text.split('-').filter(|word| !word.is_empty()).collect();
        words.join("-").chars().take(BASE).collect::<String>().trim_end_matches('-').to_owned()
    };
    let asked = plain(asked.unwrap_or_default());
    let base = if asked.is_empty() { plain(template) } else { asked };
    if base.is_empty() { "workspace".into() } else { base }
}

#[async_trait::async_trait]
impl Tool for CreateWorkspace {
    fn name(&self) -> &'static str {
        "create_workspace"
    }

    fn description(&self) -> &'static str {
        "Creates a workspace for this chat from a template, starts it and waits until it can be used. A chat that has a \
         workspace keeps it."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {
                "template_id": {"type": "string", "description": "Id of the template, as list_templates shows it."},
                "name": {"type": "string", "description": "Name of the workspace. Default: one is made up."},
                "parameters": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "Values of the template's parameters, as read_template shows them."
                },
                "preset_id": {"type": "string", "description": "Id of one of the template's presets."}
            },
            "required": ["template_id"]
        })
    }

    // The chat is bound to the workspace in the moment it is made: a second run finds it.
    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        create(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_from_what_there_is() {
        assert_eq!(base(Some("My Project!"), "docker"), "my-project");
        assert_eq!(base(Some(" ä "), "docker"), "docker");
        assert_eq!(base(None, "__"), "workspace");
        assert_eq!(base(Some(&"x".repeat(40)), ""), "x".repeat(27));
    }
}
