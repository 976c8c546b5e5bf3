//! Templates: what workspaces are built from. Everybody sees them, administrators change them.

use super::{
    auth::Caller,
    body,
    doc::Doc,
    names,
    problem::{Problem, Result},
    provider_input::declared,
    query::path_id,
    state::ApiState,
};
use crate::{
    chat::json::Json,
    clock::Timestamp,
    ids::TemplateId,
    store::records::{
        models::Source,
        workspaces::{TemplateKind, TemplatePatch, TemplateRecord},
    },
    workspace::parameters::{Parameter, Preset, Questions},
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// Longest time to live, and longest activity bump, in milliseconds: 30 days, as of chats' workspaces
/// (api.md §2.13).
pub const MAX_TTL_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// How far activity puts the end of a workspace off where nobody said, in milliseconds: an hour
/// (workspace-and-providers.md §2.5).
const ACTIVITY_BUMP_MS: i64 = 60 * 60 * 1000;

/// A template. The commands of one are not shown: they may hold what is not for everybody.
#[derive(Serialize, ToSchema)]
#[schema(as = Template)]
pub struct TemplateOut {
    id: TemplateId,
    name: String,
    display_name: String,
    description: String,
    kind: TemplateKind,
    /// What it asks of whoever builds from it.
    parameters: Vec<Parameter>,
    /// Answers that are ready.
    presets: Vec<PresetOut>,
    /// How long a workspace runs after a start, in milliseconds; 0 = until it is stopped.
    default_ttl_ms: i64,
    /// How far a chat that uses a workspace puts its end off, in milliseconds from then.
    activity_bump_ms: i64,
    /// Nothing new is built from it.
    deprecated: bool,
    /// `config`: it is declared in the configuration file, and changed only there.
    #[schema(value_type = String)]
    source: &'static str,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Answers that are ready.
#[derive(Serialize, ToSchema)]
#[schema(as = TemplatePreset)]
pub struct PresetOut {
    /// For `preset_id`.
    #[schema(value_type = String)]
    id: Uuid,
    name: String,
    description: String,
    /// It is what most take.
    default: bool,
    /// By the name of the parameter.
    parameters: BTreeMap<String, String>,
}

impl From<TemplateRecord> for TemplateOut {
    fn from(r: TemplateRecord) -> Self {
        // The configuration wrote them, and was checked.
        let asked = Questions::of(&r.parameters, &r.presets)
            .unwrap_or_else(|_| Questions { parameters: Vec::new(), presets: Vec::new() });
        let preset = |preset: Preset| PresetOut {
            id: preset.id(r.id),
            name: preset.name,
            description: preset.description,
            default: preset.default,
            parameters: preset.parameters,
        };
        Self {
            parameters: asked.parameters,
            presets: asked.presets.into_iter().map(preset).collect(),
            id: r.id,
            name: r.name,
            display_name: r.display_name,
            description: r.description,
            kind: r.kind,
            default_ttl_ms: r.default_ttl_ms,
            activity_bump_ms: r.activity_bump_ms,
            deprecated: r.deprecated,
            source: match r.source {
                Source::Config => "config",
                Source::Api => "api",
            },
            created_at: r.created_at,
            updated_at: r.updated_at,
        }
    }
}

/// A new template. Those whose commands the daemon runs, or whose folders lie on its host, are declared in
/// the configuration file alone: whoever writes them acts as the daemon.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CreateTemplate)]
pub struct CreateBody {
    #[schema(required = true)]
    name: Option<String>,
    /// Only `external` here.
    #[schema(required = true)]
    kind: Option<String>,
    display_name: Option<String>,
    description: Option<String>,
    default_ttl_ms: Option<i64>,
    activity_bump_ms: Option<i64>,
}

/// Changes to a template; a missing key keeps.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PatchTemplate)]
pub struct PatchBody {
    display_name: Option<String>,
    description: Option<String>,
    default_ttl_ms: Option<i64>,
    activity_bump_ms: Option<i64>,
    deprecated: Option<bool>,
}

fn text(field: &str, value: Option<String>) -> Result<Option<String>> {
    match value {
        Some(text) if !names::is_text(&text) => {
            Err(Problem::field(field, format!("{field} must be one line of at most 256 bytes.")))
        }
        other => Ok(other),
    }
}

/// A time in milliseconds that a body gives.
///
/// # Errors
/// 400 when it is negative or longer than 30 days.
pub fn milliseconds(field: &str, value: Option<i64>) -> Result<Option<i64>> {
    match value {
        Some(ms) if !(0..=MAX_TTL_MS).contains(&ms) => {
            Err(Problem::field(field, format!("{field} must be between 0 and {MAX_TTL_MS}.")))
        }
        other => Ok(other),
    }
}

fn missing(e: crate::store::Error) -> Problem {
    Problem::of_store(e, "Template")
}

async fn found(state: &ApiState, path: &str) -> Result<TemplateRecord> {
    let id: TemplateId = path_id(path, "template")?;
    state.store.template(id).await.map_err(missing)
}

/// A template that an administrator may change through the API.
async fn changeable(state: &ApiState, caller: &Caller, path: &str) -> Result<TemplateRecord> {
    caller.require_admin(|| Problem::forbidden("Only administrators may change templates."))?;
    let template = found(state, path).await?;
    if template.source == Source::Config {
        return Err(declared("template", "templates"));
    }
    Ok(template)
}

/// What the OpenAPI document says of it.
pub const LIST: Doc = Doc::new("Templates by name").replies::<Vec<TemplateOut>>();

/// Every template.
pub async fn list(state: web::Data<ApiState>, _caller: Caller) -> Result<HttpResponse> {
    let all = state.store.templates().await?;
    Ok(body::ok(&all.into_iter().map(TemplateOut::from).collect::<Vec<_>>()))
}

/// What the OpenAPI document says of it.
pub const GET: Doc = Doc::new("A template").replies::<TemplateOut>().errors(&[400, 404]);

/// One template.
pub async fn get(
    state: web::Data<ApiState>,
    _caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    Ok(body::ok(&TemplateOut::from(found(&state, &path).await?)))
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Make a template whose agents people start")
    .takes::<CreateBody>()
    .replies::<TemplateOut>()
    .errors(&[400, 403, 409, 413]);

/// Makes a template.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    caller.require_admin(|| Problem::forbidden("Only administrators may make templates."))?;
    let bytes = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let body: CreateBody = body::parse(&bytes)?;
    let name = body.name.unwrap_or_default();
    if !names::is_name(&name) {
        return Err(Problem::field("name", names::RULE));
    }
    match body.kind.as_deref() {
        Some("external") => {}
        Some("local" | "command") => {
            let why = "Templates of this kind run as the daemon. Declare them in its configuration file.";
            return Err(Problem::field("kind", why));
        }
        _ => return Err(Problem::field("kind", "kind must be external.")),
    }
    let now = state.clock.now();
    let template = TemplateRecord {
        id: TemplateId::fresh(),
        display_name: text("display_name", body.display_name)?
            .filter(|t| !t.is_empty())
            .unwrap_or_else(|| name.clone()),
        name,
        description: text("description", body.description)?.unwrap_or_default(),
        kind: TemplateKind::External,
        directory: String::new(),
        start_command: None,
        stop_command: None,
        status_command: None,
        parameters: Json::of(&[(); 0]),
        presets: Json::of(&[(); 0]),
        default_ttl_ms: milliseconds("default_ttl_ms", body.default_ttl_ms)?.unwrap_or(0),
        activity_bump_ms: milliseconds("activity_bump_ms", body.activity_bump_ms)?
            .unwrap_or(ACTIVITY_BUMP_MS),
        deprecated: false,
        source: Source::Api,
        deleted: false,
        created_at: now,
        updated_at: now,
    };
    let made = state.store.create_template(template).await?;
    state.live.templates_changed().await?;
    Ok(body::json(StatusCode::CREATED, &TemplateOut::from(made)))
}

/// What the OpenAPI document says of it.
pub const PATCH: Doc =
    Doc::new("Change a template").takes::<PatchBody>().replies::<TemplateOut>().errors(&[400, 403, 404, 413]);

/// Changes a template.
pub async fn patch(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let template = changeable(&state, &caller, &path).await?;
    let bytes = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let body: PatchBody = body::parse(&bytes)?;
    let patch = TemplatePatch {
        display_name: text("display_name", body.display_name)?,
        description: text("description", body.description)?,
        default_ttl_ms: milliseconds("default_ttl_ms", body.default_ttl_ms)?,
        activity_bump_ms: milliseconds("activity_bump_ms", body.activity_bump_ms)?,
        deprecated: body.deprecated,
    };
    let changed = state.store.patch_template(template.id, patch, state.clock.now()).await.map_err(missing)?;
    Ok(body::ok(&TemplateOut::from(changed)))
}

/// What the OpenAPI document says of it.
pub const DELETE: Doc =
    Doc::new("Delete a template; workspaces built from it can still be stopped and deleted")
        .errors(&[400, 403, 404]);

/// Deletes a template.
pub async fn delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let template = changeable(&state, &caller, &path).await?;
    state.store.delete_template(template.id, state.clock.now()).await.map_err(missing)?;
    state.live.templates_changed().await?;
    Ok(body::no_content())
}
