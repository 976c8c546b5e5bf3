//! Users (api.md §2.17): who they are, what they may do, and what administrators do with them.

use super::{
    auth::Caller,
    body,
    doc::{Doc, Param, ParamKind},
    names, passwords,
    problem::{Problem, Result},
    query::{Query, uuid},
    state::ApiState,
};
use crate::{
    clock::Timestamp,
    ids::{OrganizationId, UserId},
    store::{
        Error,
        records::{LoginType, NewUser, SiteRole, UserPage, UserPatch, UserRecord},
    },
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// The role in an organization without which a member cannot create chats (api.md §1.9).
pub const AGENTS_ACCESS: &str = "agents-access";
/// Users of a page when the caller names no number.
const PAGE: i64 = 50;
/// Most users of a page.
const MAX_PAGE: i64 = 1000;

/// A user (api.md §2.17).
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserOut<'a> {
    id: UserId,
    username: &'a str,
    name: &'a str,
    email: &'a str,
    avatar_url: &'a str,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// Of those who have never come: when the account was made.
    last_seen_at: Timestamp,
    /// `active` or `suspended`.
    status: &'static str,
    /// `password`, `token` or `none`.
    login_type: &'static str,
    organization_ids: Vec<OrganizationId>,
    /// Roles in the deployment, then those in organizations. To be a member is none of its own.
    roles: Vec<Role>,
}

/// A role of a user.
#[derive(Serialize, ToSchema)]
#[schema(as = UserRole)]
pub struct Role {
    name: &'static str,
    display_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<OrganizationId>,
}

impl Role {
    fn of_site(role: SiteRole) -> Option<Self> {
        let display_name = match role {
            SiteRole::Owner => "Owner",
            SiteRole::Admin => "Admin",
            SiteRole::Member => return None,
        };
        Some(Self { name: role.as_str(), display_name, organization_id: None })
    }

    /// The agents role in an organization.
    #[must_use]
    pub fn agents_access(organization: OrganizationId) -> Self {
        Self { name: AGENTS_ACCESS, display_name: "Agents access", organization_id: Some(organization) }
    }
}

type Membership = (UserId, OrganizationId, bool);

impl<'a> UserOut<'a> {
    fn new(user: &'a UserRecord, memberships: &[Membership]) -> Self {
        let own = || memberships.iter().filter(|(id, ..)| *id == user.id);
        let agents = own().filter(|(.., agents)| *agents).map(|(_, id, _)| Role::agents_access(*id));
        Self {
            id: user.id,
            username: &user.username,
            name: &user.name,
            email: &user.email,
            avatar_url: &user.avatar_url,
            created_at: user.created_at,
            updated_at: user.updated_at,
            last_seen_at: user.last_seen_at.unwrap_or(user.created_at),
            status: user.status(),
            login_type: user.login_type.as_str(),
            organization_ids: own().map(|(_, id, _)| *id).collect(),
            roles: Role::of_site(user.role).into_iter().chain(agents).collect(),
        }
    }
}

/// The user of a path: a UUID, a name, or `me`. Others are hidden from all but administrators.
///
/// # Errors
/// 404.
pub async fn user(state: &ApiState, caller: &Caller, text: &str) -> Result<Arc<UserRecord>> {
    let is_me = text == "me" || text == caller.user.username || uuid(text) == Some(caller.user.id);
    if is_me {
        return Ok(Arc::clone(&caller.user));
    }
    // No name holds a NUL, and PostgreSQL cannot even be asked for one.
    if !caller.user.is_admin() || text.contains('\0') {
        return Err(Problem::not_found("User"));
    }
    let found = match uuid(text) {
        Some(id) => state.store.user(id).await,
        None => state.store.user_by_name(text.to_owned()).await,
    };
    match found {
        Ok(user) if user.deleted => Err(Problem::not_found("User")),
        other => other.map(Arc::new).map_err(|e| Problem::of_store(e, "User")),
    }
}

/// The user of a path, for the user and for administrators; owners are changed by owners only.
///
/// # Errors
/// 403 or 404.
pub async fn changeable(state: &ApiState, caller: &Caller, text: &str) -> Result<Arc<UserRecord>> {
    let user = user(state, caller, text).await?;
    if user.is_owner() && user.id != caller.user.id && !caller.user.is_owner() {
        return Err(Problem::forbidden("Only owners may change an owner."));
    }
    Ok(user)
}

/// The user of a path, for an administrator who does what nobody does to themselves.
async fn managed(state: &ApiState, caller: &Caller, text: &str) -> Result<Arc<UserRecord>> {
    caller.require_admin(|| Problem::forbidden("Only administrators may do this."))?;
    changeable(state, caller, text).await
}

async fn out(state: &ApiState, status: StatusCode, user: &UserRecord) -> Result<HttpResponse> {
    let memberships = state.store.memberships(vec![user.id]).await?;
    Ok(body::json(status, &UserOut::new(user, &memberships)))
}

/// What the OpenAPI document says of it.
pub const GET: Doc =
    Doc::new("Get a user; `me` is the caller").replies::<UserOut<'static>>().errors(&[400, 404]);

/// One user.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let user = user(&state, &caller, &path).await?;
    if user.id != caller.user.id {
        return out(&state, StatusCode::OK, &user).await;
    }
    let seen = UserRecord { last_seen_at: Some(state.clock.now()), ..UserRecord::clone(&user) };
    out(&state, StatusCode::OK, &seen).await
}

/// A page of users.
#[derive(Serialize, ToSchema)]
#[schema(as = Users)]
pub struct UsersOut<'a> {
    users: Vec<UserOut<'a>>,
    /// How many there are on all pages.
    count: i64,
}

/// What the OpenAPI document says of it.
pub const LIST: Doc = Doc::new("List users by name; for administrators")
    .replies::<UsersOut<'static>>()
    .params(&[
        Param::query("q", ParamKind::Text, "Part of user name, name or address"),
        Param::query("limit", ParamKind::Integer(0, MAX_PAGE), "Users of a page; 0 = 50"),
        Param::query("offset", ParamKind::Integer(0, i64::MAX), "Users to skip"),
    ])
    .errors(&[400, 404]);

/// A page of users.
pub async fn list(request: HttpRequest, state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    caller.require_admin(|| Problem::not_found("Resource"))?;
    let query = Query::parse(request.query_string())?;
    let limit = query.number("limit", 0..=MAX_PAGE, "a number from 0 to 1000")?;
    let offset = query.number("offset", 0.., "a whole number that is not negative")?;
    let search = query.get("q").map(str::trim).filter(|q| !q.is_empty());
    if search.is_some_and(|q| q.contains('\0')) {
        return Err(Problem::field("q", "q must not hold a NUL character."));
    }
    let page = UserPage {
        search: search.map(str::to_owned),
        limit: limit.filter(|n| *n > 0).unwrap_or(PAGE),
        offset: offset.unwrap_or(0),
    };
    let (users, count) = state.store.page_users(page).await?;
    let memberships = state.store.memberships(users.iter().map(|u| u.id).collect()).await?;
    let users = users.iter().map(|u| UserOut::new(u, &memberships)).collect();
    Ok(body::ok(&UsersOut { users, count }))
}

/// A user who is to be made.
#[derive(Deserialize, ToSchema)]
pub struct CreateUserBody {
    username: Option<String>,
    email: Option<String>,
    /// Display name; the user name when it is left out.
    name: Option<String>,
    /// Without one the user comes in by tokens and login links.
    password: Option<String>,
    /// `password`, `token` or `none`; told from the password when it is left out.
    login_type: Option<String>,
    avatar_url: Option<String>,
    /// Organizations to join; the default one when none is named.
    organization_ids: Option<Vec<OrganizationId>>,
    /// `owner`, `admin`, `member`.
    roles: Option<Vec<String>>,
    /// false: the user may not create chats.
    agents_access: Option<bool>,
}

/// The greatest of the roles named.
fn site_role(caller: &Caller, roles: &[String]) -> Result<SiteRole> {
    let mut greatest = SiteRole::Member;
    for name in roles {
        let role = SiteRole::of(name).ok_or_else(|| {
            let rule = format!(
                "{name:?} is no role in the deployment; there are owner, admin and member. \
                 {AGENTS_ACCESS} is set at the membership in an organization."
            );
            Problem::field("roles", rule)
        })?;
        greatest = greatest.min(role);
    }
    if greatest == SiteRole::Owner && !caller.user.is_owner() {
        return Err(Problem::forbidden("Only owners may make an owner."));
    }
    Ok(greatest)
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc = Doc::new("Make a user; for administrators")
    .takes::<CreateUserBody>()
    .replies::<UserOut<'static>>()
    .errors(&[400, 409, 413]);

/// Makes a user.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    caller.require_admin(|| Problem::forbidden("Only administrators may make users."))?;
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let body: CreateUserBody = body::parse(&body)?;
    let role = site_role(&caller, &body.roles.unwrap_or_default())?;
    let username = body.username.ok_or_else(|| Problem::field("username", "username is required."))?;
    let email = body.email.ok_or_else(|| Problem::field("email", "email is required."))?;
    let login_type = match (body.login_type.as_deref().filter(|t| !t.is_empty()), &body.password) {
        (None | Some("password"), Some(_)) => LoginType::Password,
        (Some("password"), None) => return Err(Problem::field("password", "password is required.")),
        (Some(_), Some(_)) => {
            return Err(Problem::field("login_type", "A user with a password has the login_type password."));
        }
        (None, None) => LoginType::Token,
        (Some(text), None) => LoginType::of(text)
            .ok_or_else(|| Problem::field("login_type", "login_type must be password, token or none."))?,
    };
    let patch = checked(UserPatch {
        username: Some(username),
        name: body.name,
        email: Some(email),
        avatar_url: body.avatar_url,
    })?;
    let password_hash = match body.password {
        Some(password) if !passwords::is_good(&password) => {
            return Err(Problem::field("password", passwords::RULE));
        }
        Some(password) => Some(passwords::hash(password).await?),
        None => None,
    };
    let now = state.clock.now();
    let mut user = UserRecord::new(&patch.username.unwrap_or_default(), now).with_role(role);
    user.login_type = login_type;
    user.email = patch.email.unwrap_or_default();
    user.avatar_url = patch.avatar_url.unwrap_or_default();
    if let Some(name) = patch.name.filter(|name| !name.is_empty()) {
        user.name = name;
    }
    let new = NewUser {
        user,
        password_hash,
        organizations: body.organization_ids.unwrap_or_default(),
        agents_access: body.agents_access.unwrap_or(true),
    };
    let made = state.store.create_person(new, now).await.map_err(|e| match e {
        Error::NotFound => Problem::field("organization_ids", "There is no such organization."),
        other => other.into(),
    })?;
    tracing::info!(user = %made.id, by = %caller.user.id, role = made.role.as_str(), "a user was made");
    out(&state, StatusCode::CREATED, &made).await
}

/// Refuses what a user cannot be called.
fn checked(patch: UserPatch) -> Result<UserPatch> {
    if patch.username.as_deref().is_some_and(|name| !names::is_name(name)) {
        return Err(Problem::field("username", names::RULE));
    }
    if patch.name.as_deref().is_some_and(|name| !names::is_text(name)) {
        return Err(Problem::field("name", "name must be one line of at most 256 bytes."));
    }
    if patch.email.as_deref().is_some_and(|email| !names::is_email(email)) {
        return Err(Problem::field("email", "email must be a mail address, such as name@example.com."));
    }
    if patch.avatar_url.as_deref().is_some_and(|url| !names::is_picture(url)) {
        return Err(Problem::field("avatar_url", "avatar_url must be an http(s) address or a path."));
    }
    Ok(patch)
}

/// What a user is called. Keys that are left out keep their value.
#[derive(Deserialize, ToSchema)]
pub struct ProfileBody {
    username: Option<String>,
    name: Option<String>,
    email: Option<String>,
    avatar_url: Option<String>,
}

/// What the OpenAPI document says of it.
pub const PROFILE: Doc = Doc::new("Change what a user is called")
    .takes::<ProfileBody>()
    .replies::<UserOut<'static>>()
    .errors(&[400, 404, 409, 413]);

/// Changes what a user is called.
pub async fn profile(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let user = changeable(&state, &caller, &path).await?;
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let ProfileBody { username, name, email, avatar_url } = body::parse(&body)?;
    // Names from before there was a rule may stay.
    let username = username.filter(|name| *name != user.username);
    let patch = checked(UserPatch { username, name, email, avatar_url })?;
    let changed = state.store.update_user(user.id, patch, state.clock.now()).await;
    let changed = changed.map_err(|e| Problem::of_store(e, "User"))?;
    state.tokens.forget_user(user.id);
    out(&state, StatusCode::OK, &changed).await
}

/// What the OpenAPI document says of it.
pub const SUSPEND: Doc = Doc::new("Lock a user out at once; their chats stay")
    .replies::<UserOut<'static>>()
    .errors(&[400, 404, 409]);

/// Locks a user out.
pub async fn suspend(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    set_suspended(&state, &caller, &path, true).await
}

/// What the OpenAPI document says of it.
pub const ACTIVATE: Doc =
    Doc::new("Let a suspended user in again").replies::<UserOut<'static>>().errors(&[400, 404, 409]);

/// Lets a user in again.
pub async fn activate(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    set_suspended(&state, &caller, &path, false).await
}

async fn set_suspended(
    state: &ApiState,
    caller: &Caller,
    path: &str,
    suspended: bool,
) -> Result<HttpResponse> {
    let user = managed(state, caller, path).await?;
    if user.id == caller.user.id && suspended {
        return Err(Problem::bad_request("You cannot suspend yourself."));
    }
    let changed = state.store.set_suspended(user.id, suspended, state.clock.now()).await;
    let changed = changed.map_err(|e| Problem::of_store(e, "User"))?;
    // The hint comes a moment later; this replica knows at once.
    state.tokens.forget_user(user.id);
    tracing::info!(user = %user.id, by = %caller.user.id, suspended, "the status of a user was set");
    out(state, StatusCode::OK, &changed).await
}

/// What the OpenAPI document says of it.
pub const DELETE: Doc =
    Doc::new("Delete a user: tokens end, chats stay, the name is free again").errors(&[400, 404, 409]);

/// Deletes a user.
pub async fn delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let user = managed(&state, &caller, &path).await?;
    if user.id == caller.user.id {
        return Err(Problem::bad_request("You cannot delete yourself."));
    }
    let gone = state.store.delete_user(user.id, state.clock.now()).await;
    gone.map_err(|e| Problem::of_store(e, "User"))?;
    state.tokens.forget_user(user.id);
    tracing::info!(user = %user.id, by = %caller.user.id, "a user was deleted");
    Ok(body::no_content())
}

/// Roles in the deployment.
#[derive(Deserialize, ToSchema)]
pub struct RolesBody {
    /// `owner`, `admin`, `member`; none is member.
    roles: Option<Vec<String>>,
}

/// What the OpenAPI document says of it.
pub const ROLES: Doc = Doc::new("Set a user's roles in the deployment")
    .takes::<RolesBody>()
    .replies::<UserOut<'static>>()
    .errors(&[400, 404, 409, 413]);

/// Sets a user's roles.
pub async fn roles(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let user = managed(&state, &caller, &path).await?;
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let RolesBody { roles } = body::parse(&body)?;
    let roles = roles.ok_or_else(|| Problem::field("roles", "roles is required."))?;
    let role = site_role(&caller, &roles)?;
    let changed = state.store.set_role(user.id, role, state.clock.now()).await;
    let changed = changed.map_err(|e| Problem::of_store(e, "User"))?;
    state.tokens.forget_user(user.id);
    tracing::info!(user = %user.id, by = %caller.user.id, role = role.as_str(), "the role of a user was set");
    out(&state, StatusCode::OK, &changed).await
}
