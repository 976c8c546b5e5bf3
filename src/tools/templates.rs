//! `list_templates` and `read_template`: what a workspace can be made from (tools.md §9.1, §9.2).

use super::{Repeat, Session, Tool, ToolContext, arguments, building, outcome::ToolOutcome};
use crate::{
    chat::json::Json,
    ids::{OrganizationId, TemplateId},
    store::{self, records::workspaces::TemplateRecord},
    workspace::parameters::{Parameter, ParameterKind, Preset, Questions},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Templates of a page (tools.md §9.1).
const PAGE: usize = 10;
/// Characters of a parameter's description (tools.md §9.2).
const DESCRIPTION: usize = 300;

/// Lists them.
#[derive(Debug, Clone, Copy)]
pub struct ListTemplates;

/// Shows one.
#[derive(Debug, Clone, Copy)]
pub struct ReadTemplate;

/// Whether the deployment lets chats use it. An empty list means all.
fn allowed(session: &Session, id: TemplateId) -> bool {
    let listed = &session.live.current().template_allowlist.template_ids;
    listed.is_empty() || listed.contains(&id)
}

/// A template that this chat may use.
///
/// # Errors
/// What the model is told when there is none: the same whatever the reason is, so that nothing leaks.
pub(super) async fn usable(session: &Session, text: &str) -> Result<TemplateRecord, ToolOutcome> {
    let id = uuid::Uuid::try_parse(text.trim()).map(TemplateId).map_err(|_| {
        ToolOutcome::error(format!("template_id {text:?} is no UUID; list_templates shows the ids"))
    })?;
    let missing =
        || ToolOutcome::error("there is no such template; list_templates shows those that there are");
    match session.connection.dialer().store.template(id).await {
        Ok(template) if !template.deprecated && allowed(session, id) => Ok(template),
        Ok(_) | Err(store::Error::NotFound) => Err(missing()),
        Err(e) => Err(building::failed(e)),
    }
}

#[derive(Deserialize)]
struct ListArgs {
    query: Option<String>,
    page: Option<i64>,
}

#[derive(Serialize)]
struct Listed {
    id: TemplateId,
    name: String,
    organization_id: OrganizationId,
    display_name: String,
    description: String,
}

async fn list(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: ListArgs = arguments::parse(args)?;
    let session = building::session(ctx)?;
    let store = &session.connection.dialer().store;
    let organization_id = building::chat(ctx, store).await?.organization_id;
    let query = args.query.unwrap_or_default().trim().to_lowercase();
    let found = |template: &TemplateRecord| {
        let texts = [&template.name, &template.display_name, &template.description];
        texts.iter().any(|text| text.to_lowercase().contains(&query))
    };
    // By name, as the store has them.
    let mut all = store.templates().await.map_err(building::failed)?;
    all.retain(|template| !template.deprecated && allowed(session, template.id) && found(template));
    let total_count = all.len();
    let page = args.page.and_then(|page| usize::try_from(page).ok()).unwrap_or(1).max(1);
    let shown = all.into_iter().skip((page - 1).saturating_mul(PAGE)).take(PAGE);
    let templates: Vec<Listed> = shown
        .map(|template| Listed {
            id: template.id,
            name: template.name,
            organization_id,
            display_name: template.display_name,
            description: template.description,
        })
        .collect();
    Ok(ToolOutcome::ok(&json!({
        "count": templates.len(),
        "templates": templates,
        "page": page,
        "total_pages": total_count.div_ceil(PAGE),
        "total_count": total_count,
    })))
}

#[derive(Deserialize)]
struct ReadArgs {
    template_id: String,
}

async fn read(ctx: &ToolContext, args: &str) -> Result<ToolOutcome, ToolOutcome> {
    let args: ReadArgs = arguments::parse(args)?;
    let session = building::session(ctx)?;
    let template = usable(session, arguments::required("template_id", &args.template_id)?).await?;
    let chat = building::chat(ctx, &session.connection.dialer().store).await?;
    let asked = questions(&template)?;
    let parameters: Vec<Value> = asked.parameters.iter().map(parameter).collect();
    let presets: Vec<Value> = asked.presets.iter().map(|preset| self::preset(preset, template.id)).collect();
    Ok(ToolOutcome::ok(&json!({
        "template": {
            "id": template.id,
            "name": template.name,
            "display_name": template.display_name,
            "description": template.description,
            "organization_id": chat.organization_id,
        },
        "parameters": parameters,
        "presets": presets,
    })))
}

/// What a template asks.
pub(super) fn questions(template: &TemplateRecord) -> Result<Questions, ToolOutcome> {
    Questions::of(&template.parameters, &template.presets).map_err(|e| {
        tracing::error!(template = %template.id, error = %e, "what a template asks cannot be read");
        ToolOutcome::error("the server cannot read what this template asks; take another one")
    })
}

fn parameter(asked: &Parameter) -> Value {
    let mut shown = json!(asked);
    shown["description"] = asked.description.chars().take(DESCRIPTION).collect::<String>().into();
    shown["required"] = asked.default.is_none().into();
    // Templates do not choose how a question is shown: it follows from the answers.
    shown["form_type"] = match asked.kind {
        _ if !asked.options.is_empty() => "radio",
        ParameterKind::Bool => "checkbox",
        ParameterKind::String | ParameterKind::Number => "input",
    }
    .into();
    // An answer is kept as long as the workspace is.
    shown["mutable"] = false.into();
    shown["ephemeral"] = false.into();
    shown
}

fn preset(preset: &Preset, template: TemplateId) -> Value {
    let values: Vec<Value> =
        preset.parameters.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    json!({
        "id": preset.id(template),
        "name": preset.name,
        "description": preset.description,
        "default": preset.default,
        "icon": "",
        "parameters": values,
    })
}

#[async_trait::async_trait]
impl Tool for ListTemplates {
    fn name(&self) -> &'static str {
        "list_templates"
    }

    fn description(&self) -> &'static str {
        "Lists the templates that a workspace can be created from, ten on a page."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "Only those with this text in their name or description. Default: all."},
                "page": {"type": "integer", "description": "Page, from 1. Default 1."}
            }
        })
    }

    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        list(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}

#[async_trait::async_trait]
impl Tool for ReadTemplate {
    fn name(&self) -> &'static str {
        "read_template"
    }

    fn description(&self) -> &'static str {
        "Shows a template: what it is for, and which parameters and presets create_workspace can give it."
    }

    fn input_schema(&self) -> Json {
        schema!({
            "type": "object",
            "properties": {"template_id": {"type": "string", "description": "Id of the template, a UUID."}},
            "required": ["template_id"]
        })
    }

    fn repeat(&self) -> Repeat {
        Repeat::Again
    }

    async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
        read(ctx, args).await.unwrap_or_else(|failed| failed)
    }
}
