//! Groups of members of an organization. Members see them, administrators change them.

use super::{
    auth::Caller,
    body,
    doc::Doc,
    names, organizations,
    problem::{Problem, Result},
    query::uuid,
    state::ApiState,
    users,
};
use crate::{
    clock::Timestamp,
    ids::{GroupId, OrganizationId, UserId},
    store::{
        Error,
        records::{GroupPatch, GroupRecord, OrganizationRecord, UserRecord},
    },
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A group.
#[derive(Serialize, ToSchema)]
#[schema(as = Group)]
pub struct GroupOut<'a> {
    id: GroupId,
    organization_id: OrganizationId,
    name: &'a str,
    display_name: &'a str,
    avatar_url: &'a str,
    member_count: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl<'a> From<&'a GroupRecord> for GroupOut<'a> {
    fn from(g: &'a GroupRecord) -> Self {
        Self {
            id: g.id,
            organization_id: g.organization_id,
            name: &g.name,
            display_name: &g.display_name,
            avatar_url: &g.avatar_url,
            member_count: g.member_count,
            created_at: g.created_at,
            updated_at: g.updated_at,
        }
    }
}

/// A member of a group.
#[derive(Serialize, ToSchema)]
#[schema(as = GroupMember)]
pub struct GroupMemberOut<'a> {
    id: UserId,
    username: &'a str,
    name: &'a str,
    avatar_url: &'a str,
}

impl<'a> From<&'a UserRecord> for GroupMemberOut<'a> {
    fn from(u: &'a UserRecord) -> Self {
        Self { id: u.id, username: &u.username, name: &u.name, avatar_url: &u.avatar_url }
    }
}

/// The group of a path, a UUID or a name, in an organization that was found already.
async fn find(state: &ApiState, organization: &OrganizationRecord, text: &str) -> Result<GroupRecord> {
    let found = match uuid(text) {
        Some(id) => state.store.group(id).await,
        None if text.contains('\0') => Err(Error::NotFound),
        None => state.store.group_by_name(organization.id, text.to_owned()).await,
    };
    found
        .and_then(|g| if g.organization_id == organization.id { Ok(g) } else { Err(Error::NotFound) })
        .map_err(|e| Problem::of_store(e, "Group"))
}

/// What the OpenAPI document says of it.
pub const LIST: Doc =
    Doc::new("Groups of an organization").replies::<Vec<GroupOut<'static>>>().errors(&[400, 404]);

/// The groups of an organization.
pub async fn list(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let organization = organizations::visible(&state, &caller, &path).await?;
    let groups = state.store.groups(organization.id).await?;
    Ok(body::ok(&groups.iter().map(GroupOut::from).collect::<Vec<_>>()))
}

/// What a group is called, and who comes and goes. Keys that are left out keep their value.
#[derive(Deserialize, ToSchema)]
pub struct GroupBody {
    name: Option<String>,
    display_name: Option<String>,
    avatar_url: Option<String>,
    /// Members to take in; each must be a member of the organization.
    add_users: Option<Vec<UserId>>,
    /// Members to let go.
    remove_users: Option<Vec<UserId>>,
}

impl GroupBody {
    fn checked(self) -> Result<GroupPatch> {
        if self.name.as_deref().is_some_and(|name| !names::is_name(name)) {
            return Err(Problem::field("name", names::RULE));
        }
        if self.display_name.as_deref().is_some_and(|text| !names::is_text(text)) {
            return Err(Problem::field(
                "display_name",
                "display_name must be one line of at most 256 bytes.",
            ));
        }
        if self.avatar_url.as_deref().is_some_and(|url| !names::is_picture(url)) {
            return Err(Problem::field("avatar_url", "avatar_url must be an http(s) address or a path."));
        }
        Ok(GroupPatch {
            name: self.name,
            display_name: self.display_name,
            avatar_url: self.avatar_url,
            add: self.add_users.unwrap_or_default(),
            remove: self.remove_users.unwrap_or_default(),
        })
    }
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Make a group")
    .takes::<GroupBody>()
    .replies::<GroupOut<'static>>()
    .errors(&[400, 404, 409, 413]);

/// Makes a group.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let organization = organizations::changeable(&state, &caller, &path).await?;
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let patch = body::parse::<GroupBody>(&body)?.checked()?;
    let name = patch.name.clone().ok_or_else(|| Problem::field("name", "name is required."))?;
    let now = state.clock.now();
    let group = GroupRecord {
        id: GroupId::fresh(),
        organization_id: organization.id,
        name,
        display_name: patch.display_name.unwrap_or_default(),
        avatar_url: patch.avatar_url.unwrap_or_default(),
        member_count: 0,
        created_at: now,
        updated_at: now,
    };
    let made = state.store.create_group(group, patch.add).await?;
    Ok(body::json(StatusCode::CREATED, &GroupOut::from(&made)))
}

/// What the OpenAPI document says of it.
pub const GET: Doc = Doc::new("Get a group").replies::<GroupOut<'static>>().errors(&[400, 404]);

/// One group.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    let organization = organizations::visible(&state, &caller, &path.0).await?;
    Ok(body::ok(&GroupOut::from(&find(&state, &organization, &path.1).await?)))
}

/// What the OpenAPI document says of it.
pub const PATCH: Doc = Doc::new("Change a group and its members")
    .takes::<GroupBody>()
    .replies::<GroupOut<'static>>()
    .errors(&[400, 404, 409, 413]);

/// Changes a group.
pub async fn patch(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let organization = organizations::changeable(&state, &caller, &path.0).await?;
    let group = find(&state, &organization, &path.1).await?;
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let patch = body::parse::<GroupBody>(&body)?.checked()?;
    let changed = state.store.update_group(group.id, patch, state.clock.now()).await;
    Ok(body::ok(&GroupOut::from(&changed.map_err(|e| Problem::of_store(e, "Group"))?)))
}

/// What the OpenAPI document says of it.
pub const DELETE: Doc = Doc::new("Delete a group").errors(&[400, 404]);

/// Deletes a group.
pub async fn delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    let organization = organizations::changeable(&state, &caller, &path.0).await?;
    let group = find(&state, &organization, &path.1).await?;
    match state.store.delete_group(group.id).await? {
        true => Ok(body::no_content()),
        false => Err(Problem::not_found("Group")),
    }
}

/// What the OpenAPI document says of it.
pub const MEMBERS: Doc =
    Doc::new("Members of a group").replies::<Vec<GroupMemberOut<'static>>>().errors(&[400, 404]);

/// The members of a group.
pub async fn members(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    let organization = organizations::visible(&state, &caller, &path.0).await?;
    let group = find(&state, &organization, &path.1).await?;
    let members = state.store.group_members(group.id).await?;
    Ok(body::ok(&members.iter().map(GroupMemberOut::from).collect::<Vec<_>>()))
}

/// Changes who belongs to a group by one user.
async fn move_member(
    state: &ApiState,
    caller: &Caller,
    (organization, group, user): (String, String, String),
    patch: impl FnOnce(UserId) -> GroupPatch,
) -> Result<HttpResponse> {
    let organization = organizations::changeable(state, caller, &organization).await?;
    let group = find(state, &organization, &group).await?;
    let user = users::user(state, caller, &user).await?;
    let changed = state.store.update_group(group.id, patch(user.id), state.clock.now()).await;
    changed.map_err(|e| Problem::of_store(e, "Group"))?;
    Ok(body::no_content())
}

/// What the OpenAPI document says of it.
pub const ADD_MEMBER: Doc = Doc::new("Take a member of the organization into a group").errors(&[400, 404]);

/// Takes a user into a group.
pub async fn add_member(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String, String)>,
) -> Result<HttpResponse> {
    let add = |user| GroupPatch { add: vec![user], ..GroupPatch::default() };
    move_member(&state, &caller, path.into_inner(), add).await
}

/// What the OpenAPI document says of it.
pub const REMOVE_MEMBER: Doc = Doc::new("Let a member of a group go").errors(&[400, 404]);

/// Lets a member of a group go.
pub async fn remove_member(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String, String)>,
) -> Result<HttpResponse> {
    let remove = |user| GroupPatch { remove: vec![user], ..GroupPatch::default() };
    move_member(&state, &caller, path.into_inner(), remove).await
}
