//! Organizations and their members. Members see theirs, administrators see and change all.

use super::{
    auth::Caller,
    body,
    doc::Doc,
    names,
    problem::{Problem, Result},
    query::uuid,
    state::ApiState,
    users::{self, AGENTS_ACCESS, Role},
};
use crate::{
    clock::Timestamp,
    ids::{OrganizationId, UserId},
    store::{
        Error,
        records::{MemberRecord, OrganizationPatch, OrganizationRecord},
    },
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An organization (api.md §2.17).
#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
pub struct OrganizationOut<'a> {
    id: OrganizationId,
    name: &'a str,
    display_name: &'a str,
    icon: &'a str,
    description: &'a str,
    is_default: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl<'a> From<&'a OrganizationRecord> for OrganizationOut<'a> {
    fn from(o: &'a OrganizationRecord) -> Self {
        Self {
            id: o.id,
            name: &o.name,
            display_name: &o.display_name,
            icon: &o.icon,
            description: &o.description,
            is_default: o.is_default,
            created_at: o.created_at,
            updated_at: o.updated_at,
        }
    }
}

/// The organization of a path, a UUID or a name, for one who may see it.
///
/// # Errors
/// 404.
pub async fn visible(state: &ApiState, caller: &Caller, text: &str) -> Result<OrganizationRecord> {
    let found = find(state, text).await?;
    if caller.user.is_admin() || state.store.member(found.id, caller.user.id).await?.is_some() {
        return Ok(found);
    }
    Err(Problem::not_found("Organization"))
}

/// The organization of a path, for one who may change it.
///
/// # Errors
/// 403 or 404.
pub async fn changeable(state: &ApiState, caller: &Caller, text: &str) -> Result<OrganizationRecord> {
    caller.require_admin(|| Problem::forbidden("Only administrators may change organizations."))?;
    find(state, text).await
}

async fn find(state: &ApiState, text: &str) -> Result<OrganizationRecord> {
    let found = match uuid(text) {
        Some(id) => state.store.organization(id).await,
        None if text.contains('\0') => Err(Error::NotFound),
        None => state.store.organization_by_name(text.to_owned()).await,
    };
    found.map_err(|e| Problem::of_store(e, "Organization"))
}

/// What the OpenAPI document says of it.
pub const OF_USER: Doc =
    Doc::new("Organizations of a user").replies::<Vec<OrganizationOut<'static>>>().errors(&[400, 404]);

/// The organizations of a user.
pub async fn of_user(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let user = users::user(&state, &caller, &path).await?;
    Ok(out(&state.store.organizations_of(user.id).await?))
}

/// What the OpenAPI document says of it.
pub const LIST: Doc = Doc::new("Organizations of the caller; all of them for administrators")
    .replies::<Vec<OrganizationOut<'static>>>();

/// The organizations that the caller may see.
pub async fn list(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    let all = match caller.user.is_admin() {
        true => state.store.list_organizations().await?,
        false => state.store.organizations_of(caller.user.id).await?,
    };
    Ok(out(&all))
}

fn out(all: &[OrganizationRecord]) -> HttpResponse {
    body::ok(&all.iter().map(OrganizationOut::from).collect::<Vec<_>>())
}

/// What the OpenAPI document says of it.
pub const GET: Doc =
    Doc::new("Get an organization").replies::<OrganizationOut<'static>>().errors(&[400, 404]);

/// One organization.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    Ok(body::ok(&OrganizationOut::from(&visible(&state, &caller, &path).await?)))
}

/// What an organization is called. Keys that are left out keep their value.
#[derive(Deserialize, ToSchema)]
pub struct OrganizationBody {
    name: Option<String>,
    display_name: Option<String>,
    icon: Option<String>,
    description: Option<String>,
}

impl OrganizationBody {
    fn checked(self) -> Result<OrganizationPatch> {
        if self.name.as_deref().is_some_and(|name| !names::is_name(name)) {
            return Err(Problem::field("name", names::RULE));
        }
        for (field, text) in [("display_name", &self.display_name), ("description", &self.description)] {
            if text.as_deref().is_some_and(|text| !names::is_text(text)) {
                return Err(Problem::field(field, format!("{field} must be one line of at most 256 bytes.")));
            }
        }
        if self.icon.as_deref().is_some_and(|icon| !names::is_picture(icon)) {
            return Err(Problem::field("icon", "icon must be an http(s) address or a path."));
        }
        let Self { name, display_name, icon, description } = self;
        Ok(OrganizationPatch { name, display_name, icon, description })
    }
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Make an organization; the caller becomes its first member")
    .takes::<OrganizationBody>()
    .replies::<OrganizationOut<'static>>()
    .errors(&[400, 409, 413]);

/// Makes an organization.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    caller.require_admin(|| Problem::forbidden("Only administrators may make organizations."))?;
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let patch = body::parse::<OrganizationBody>(&body)?.checked()?;
    let name = patch.name.ok_or_else(|| Problem::field("name", "name is required."))?;
    let now = state.clock.now();
    let organization = OrganizationRecord {
        id: OrganizationId::fresh(),
        display_name: patch.display_name.filter(|d| !d.is_empty()).unwrap_or_else(|| name.clone()),
        name,
        icon: patch.icon.unwrap_or_default(),
        description: patch.description.unwrap_or_default(),
        is_default: false,
        created_at: now,
        updated_at: now,
    };
    let made = state.store.create_organization(organization, caller.user.id).await?;
    Ok(body::json(StatusCode::CREATED, &OrganizationOut::from(&made)))
}

/// What the OpenAPI document says of it.
pub const PATCH: Doc = Doc::new("Change an organization")
    .takes::<OrganizationBody>()
    .replies::<OrganizationOut<'static>>()
    .errors(&[400, 404, 409, 413]);

/// Changes an organization.
pub async fn patch(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let found = changeable(&state, &caller, &path).await?;
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let mut patch = body::parse::<OrganizationBody>(&body)?.checked()?;
    patch.name = patch.name.filter(|name| *name != found.name);
    let changed = state.store.update_organization(found.id, patch, state.clock.now()).await?;
    Ok(body::ok(&OrganizationOut::from(&changed)))
}

/// What the OpenAPI document says of it.
pub const DELETE: Doc =
    Doc::new("Delete an organization without chats, with its groups; not the default one")
        .errors(&[400, 404, 409]);

/// Deletes an organization.
pub async fn delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let found = changeable(&state, &caller, &path).await?;
    state.store.delete_organization(found.id).await.map_err(|e| Problem::of_store(e, "Organization"))?;
    Ok(body::no_content())
}

/// A member of an organization.
#[derive(Serialize, ToSchema)]
#[schema(as = OrganizationMember)]
pub struct MemberOut<'a> {
    organization_id: OrganizationId,
    user_id: UserId,
    username: &'a str,
    name: &'a str,
    avatar_url: &'a str,
    /// Roles in this organization; to be a member is none of its own.
    roles: Vec<Role>,
    created_at: Timestamp,
}

impl<'a> From<&'a MemberRecord> for MemberOut<'a> {
    fn from(m: &'a MemberRecord) -> Self {
        Self {
            organization_id: m.organization_id,
            user_id: m.user.id,
            username: &m.user.username,
            name: &m.user.name,
            avatar_url: &m.user.avatar_url,
            roles: m.agents_access.then(|| Role::agents_access(m.organization_id)).into_iter().collect(),
            created_at: m.created_at,
        }
    }
}

/// What the OpenAPI document says of it.
pub const MEMBERS: Doc =
    Doc::new("Members of an organization").replies::<Vec<MemberOut<'static>>>().errors(&[400, 404]);

/// The members of an organization.
pub async fn members(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let found = visible(&state, &caller, &path).await?;
    let members = state.store.members(found.id).await?;
    Ok(body::ok(&members.iter().map(MemberOut::from).collect::<Vec<_>>()))
}

/// Roles in an organization: `agents-access`, without which a member cannot create chats.
#[derive(Deserialize, ToSchema)]
pub struct MemberRolesBody {
    roles: Option<Vec<String>>,
}

impl MemberRolesBody {
    fn agents_access(&self) -> Result<Option<bool>> {
        let Some(roles) = &self.roles else { return Ok(None) };
        match roles.iter().find(|r| !matches!(r.as_str(), AGENTS_ACCESS | "member")) {
            Some(other) => {
                let rule =
                    format!("{other:?} is no role in an organization; there are member and {AGENTS_ACCESS}.");
                Err(Problem::field("roles", rule))
            }
            None => Ok(Some(roles.iter().any(|r| r == AGENTS_ACCESS))),
        }
    }
}

/// The organization and the user of a path, for an administrator.
async fn both(
    state: &ApiState,
    caller: &Caller,
    path: &(String, String),
) -> Result<(OrganizationId, UserId)> {
    let organization = changeable(state, caller, &path.0).await?;
    let user = users::user(state, caller, &path.1).await?;
    Ok((organization.id, user.id))
}

/// What the OpenAPI document says of it.
pub const ADD_MEMBER: Doc = Doc::new("Take a user into an organization")
    .may_take::<MemberRolesBody>()
    .replies::<MemberOut<'static>>()
    .errors(&[400, 404, 413]);

/// Takes a user in.
pub async fn add_member(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let (organization, user) = both(&state, &caller, &path).await?;
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let agents = match body.is_empty() {
        true => None,
        false => body::parse::<MemberRolesBody>(&body)?.agents_access()?,
    };
    let made = state.store.add_member(organization, user, agents.unwrap_or(true), state.clock.now()).await?;
    Ok(body::json(StatusCode::CREATED, &MemberOut::from(&made)))
}

/// What the OpenAPI document says of it.
pub const REMOVE_MEMBER: Doc =
    Doc::new("Let a member go, out of the organization's groups too; their chats stay").errors(&[400, 404]);

/// Lets a member go.
pub async fn remove_member(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    let (organization, user) = both(&state, &caller, &path).await?;
    match state.store.remove_member(organization, user).await? {
        true => Ok(body::no_content()),
        false => Err(Problem::not_found("Member")),
    }
}

/// What the OpenAPI document says of it.
pub const MEMBER_ROLES: Doc = Doc::new("Set a member's roles in an organization")
    .takes::<MemberRolesBody>()
    .replies::<MemberOut<'static>>()
    .errors(&[400, 404, 413]);

/// Sets a member's roles.
pub async fn member_roles(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let (organization, user) = both(&state, &caller, &path).await?;
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let agents = body::parse::<MemberRolesBody>(&body)?
        .agents_access()?
        .ok_or_else(|| Problem::field("roles", "roles is required."))?;
    if state.store.member(organization, user).await?.is_none() {
        return Err(Problem::not_found("Member"));
    }
    let changed = state.store.add_member(organization, user, agents, state.clock.now()).await?;
    Ok(body::ok(&MemberOut::from(&changed)))
}
