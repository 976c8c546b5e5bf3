//! `POST /authcheck` (api.md §2.17): what the caller may do, asked beforehand by clients that would
//! not show what is refused anyway. The same rules that the routes themselves enforce.

use super::{
    access,
    auth::Caller,
    body,
    doc::{Doc, Reply},
    problem::{Problem, Result},
    query::uuid,
    state::ApiState,
};
use crate::{
    ids::{OrganizationId, UserId},
    store,
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Most checks of a request: each may need a look into the database.
const MAX_CHECKS: usize = 256;

/// Questions by name.
#[derive(Deserialize, ToSchema)]
pub struct ChecksBody {
    checks: Option<BTreeMap<String, CheckBody>>,
}

/// May the caller do this to that?
#[derive(Deserialize, ToSchema)]
pub struct CheckBody {
    object: ObjectBody,
    /// `create`, `read`, `update`, `delete`, `share`, …
    action: String,
}

/// What it would be done to.
#[derive(Deserialize, ToSchema)]
pub struct ObjectBody {
    /// `chat`, `user`, `organization`, `group`, `deployment_config`, …
    resource_type: String,
    /// A UUID, or `me`.
    owner_id: Option<String>,
    organization_id: Option<String>,
    resource_id: Option<String>,
    #[serde(default)]
    any_org: bool,
}

/// What the OpenAPI document says of it.
pub const CHECK: Doc =
    Doc::new("Ask what the caller may do").takes::<ChecksBody>().answers(Reply::Object).errors(&[400, 413]);

/// Answers each question with yes or no.
pub async fn check(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let body = body::read(&request, payload, body::SMALL_LIMIT).await?;
    let checks = body::parse::<ChecksBody>(&body)?.checks.unwrap_or_default();
    if checks.len() > MAX_CHECKS {
        return Err(Problem::field("checks", format!("At most {MAX_CHECKS} checks are answered at once.")));
    }
    let memberships = state.store.memberships(vec![caller.user.id]).await?;
    let rights = Rights { state: &state, caller: &caller, memberships };
    let mut answers = BTreeMap::new();
    for (name, check) in checks {
        let allowed = rights.allow(&check).await?;
        answers.insert(name, allowed);
    }
    Ok(body::ok(&answers))
}

/// What a caller may do.
struct Rights<'a> {
    state: &'a ApiState,
    caller: &'a Caller,
    memberships: Vec<(UserId, OrganizationId, bool)>,
}

impl Rights<'_> {
    async fn allow(&self, check: &CheckBody) -> Result<bool> {
        let (object, action) = (&check.object, check.action.as_str());
        let admin = self.caller.user.is_admin();
        match object.resource_type.as_str() {
            "chat" => self.chat(object, action).await,
            "user" | "user_data" | "api_key" => self.user(object, action).await,
            "organization" | "organization_member" | "group" | "group_member" => {
                Ok(admin || (action.starts_with("read") && self.is_member(object)))
            }
            _ => Ok(admin),
        }
    }

    /// Whether the caller belongs to the organization in question.
    fn is_member(&self, object: &ObjectBody) -> bool {
        let named = object.organization_id.as_deref().or(object.resource_id.as_deref());
        match named.filter(|id| !id.is_empty()) {
            Some(id) => self.memberships.iter().any(|(_, o, _)| uuid(id) == Some(*o)),
            None => object.any_org && !self.memberships.is_empty(),
        }
    }

    fn is_me(&self, id: &str) -> bool {
        id == "me" || uuid(id) == Some(self.caller.user.id)
    }

    /// As `access` and `create` have it.
    async fn chat(&self, object: &ObjectBody, action: &str) -> Result<bool> {
        let owner = object.owner_id.as_deref().filter(|id| !id.is_empty());
        let organization = object.organization_id.as_deref().filter(|id| !id.is_empty());
        if action == "create" {
            let may = |(_, id, agents): &(UserId, OrganizationId, bool)| {
                (*agents || self.caller.user.is_owner()) && organization.is_none_or(|o| uuid(o) == Some(*id))
            };
            return Ok(owner.is_none_or(|id| self.is_me(id)) && self.memberships.iter().any(may));
        }
        let right = match action {
            "read" => access::Right::Read,
            "update" | "delete" => access::Right::Update,
            _ => access::Right::Own,
        };
        if let Some(id) = object.resource_id.as_deref().filter(|id| !id.is_empty()) {
            let found = access::only_id(self.state, self.caller, id, right).await;
            return match found {
                Ok(_) => Ok(true),
                Err(problem) if problem.status().is_client_error() => Ok(false),
                Err(problem) => Err(problem),
            };
        }
        let of_others = self.caller.user.is_admin() && right != access::Right::Own;
        Ok(of_others || owner.is_some_and(|id| self.is_me(id)))
    }

    /// Oneself, and for administrators everybody but owners, as `users::changeable` has it.
    async fn user(&self, object: &ObjectBody, action: &str) -> Result<bool> {
        let named = [&object.resource_id, &object.owner_id].into_iter().flatten().find(|id| !id.is_empty());
        let caller = &self.caller.user;
        let Some(id) = named else { return Ok(caller.is_admin()) };
        if self.is_me(id) {
            // Nobody suspends, deletes or makes themselves.
            return Ok(caller.is_admin()
                || action.starts_with("read")
                || action.starts_with("update")
                || object.resource_type == "api_key");
        }
        if !caller.is_admin() {
            return Ok(false);
        }
        let Some(id) = uuid::<UserId>(id) else { return Ok(false) };
        match self.state.store.user(id).await {
            Ok(user) if user.deleted => Ok(false),
            Ok(user) => Ok(action.starts_with("read") || caller.is_owner() || !user.is_owner()),
            Err(store::Error::NotFound) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}
