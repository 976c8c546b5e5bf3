//! Users and organizations, as far as chat clients look at them (api.md §2.17).

use super::{
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    query::uuid,
    state::ApiState,
};
use crate::{
    clock::Timestamp,
    ids::{OrganizationId, UserId},
    store::records::{OrganizationRecord, UserRecord},
};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A user (api.md §2.17).
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserOut<'a> {
    id: UserId,
    username: &'a str,
    name: &'a str,
    email: &'a str,
    avatar_url: &'static str,
    created_at: Timestamp,
    updated_at: Timestamp,
    last_seen_at: Timestamp,
    status: &'static str,
    login_type: &'static str,
    organization_ids: Vec<OrganizationId>,
    roles: Vec<Role>,
}

/// A role of a user.
#[derive(Serialize, ToSchema)]
#[schema(as = UserRole)]
pub struct Role {
    name: &'static str,
    display_name: &'static str,
}

/// An organization.
#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
pub struct OrganizationOut<'a> {
    id: OrganizationId,
    name: &'a str,
    display_name: &'a str,
    icon: &'static str,
    description: &'static str,
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
            icon: "",
            description: "",
            is_default: o.is_default,
            created_at: o.created_at,
            updated_at: o.updated_at,
        }
    }
}

/// The user of a path: a UUID, a name, or `me`. Others are hidden from all but administrators.
///
/// # Errors
/// 404.
pub async fn user(state: &ApiState, caller: &Caller, text: &str) -> Result<Arc<UserRecord>> {
    let hidden = |e| Problem::of_store(e, "User");
    let is_me = text == "me" || text == caller.user.username || uuid(text) == Some(caller.user.id);
    if is_me {
        return Ok(Arc::clone(&caller.user));
    }
    // No name holds a NUL, and PostgreSQL cannot even be asked for one.
    if !caller.user.is_admin || text.contains('\0') {
        return Err(Problem::not_found("User"));
    }
    let found = match uuid(text) {
        Some(id) => state.store.user(id).await,
        None => state.store.user_by_name(text.to_owned()).await,
    };
    found.map(Arc::new).map_err(hidden)
}

/// What the OpenAPI document says of it.
pub const GET: Doc = Doc::new("Get a user; `me` is the caller").replies::<UserOut<'static>>().errors(&[404]);

/// One user.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let user = user(&state, &caller, &path).await?;
    let organizations = state.store.organizations_of(user.id).await?;
    let admin = Role { name: "owner", display_name: "Owner" };
    Ok(body::ok(&UserOut {
        id: user.id,
        username: &user.username,
        name: &user.name,
        email: &user.email,
        avatar_url: "",
        created_at: user.created_at,
        updated_at: user.updated_at,
        last_seen_at: state.clock.now(),
        status: if user.suspended { "suspended" } else { "active" },
        login_type: "token",
        organization_ids: organizations.iter().map(|o| o.id).collect(),
        roles: if user.is_admin { vec![admin] } else { Vec::new() },
    }))
}

/// What the OpenAPI document says of it.
pub const ORGANIZATIONS_OF: Doc =
    Doc::new("Organizations of a user").replies::<Vec<OrganizationOut<'static>>>().errors(&[404]);

/// The organizations of a user.
pub async fn organizations_of(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let user = user(&state, &caller, &path).await?;
    organizations_out(&state, user.id).await
}

/// What the OpenAPI document says of it.
pub const ORGANIZATIONS: Doc =
    Doc::new("Organizations of the caller").replies::<Vec<OrganizationOut<'static>>>();

/// The organizations of the caller.
pub async fn organizations(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    organizations_out(&state, caller.user.id).await
}

async fn organizations_out(state: &ApiState, user: UserId) -> Result<HttpResponse> {
    let all = state.store.organizations_of(user).await?;
    Ok(body::ok(&all.iter().map(OrganizationOut::from).collect::<Vec<_>>()))
}
