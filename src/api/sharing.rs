//! `/chats/{chat}/acl` (api.md §2.9): who may read a chat besides its owner. The entries are the
//! root's; its children follow it.

use super::{
    access::{self, Right},
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    query::uuid,
    state::ApiState,
};
use crate::{
    ids::{GroupId, OrganizationId, UserId},
    store::records::{AclSubject, ChatRecord},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, str::FromStr};
use utoipa::ToSchema;

/// Most users and most groups that one request names: what one transaction may write.
const MAX_NAMED: usize = 500;

/// A user who may read a chat.
#[derive(Debug, Serialize, ToSchema)]
struct AclUser {
    id: UserId,
    username: String,
    name: String,
    avatar_url: String,
    /// `read`.
    role: &'static str,
}

/// A group whose members may read a chat.
#[derive(Debug, Serialize, ToSchema)]
struct AclGroup {
    id: GroupId,
    name: String,
    display_name: String,
    organization_id: OrganizationId,
    /// `read`.
    role: &'static str,
}

/// Who may read a chat.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChatAcl)]
pub struct AclOut {
    users: Vec<AclUser>,
    groups: Vec<AclGroup>,
}

/// What the OpenAPI document says of it.
pub const GET: Doc = Doc::new("Who may read a chat").replies::<AclOut>().errors(&[400, 403, 404]);

/// The readers of a chat's family.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat = shareable(&state, &caller, &path).await?;
    let acl = state.store.acl(chat.root_chat_id).await?;
    let user = |u: crate::store::records::UserRecord| AclUser {
        id: u.id,
        username: u.username,
        name: u.name,
        avatar_url: u.avatar_url,
        role: "read",
    };
    let group = |g: crate::store::records::AclGroup| AclGroup {
        id: g.id,
        name: g.name,
        display_name: g.display_name,
        organization_id: g.organization_id,
        role: "read",
    };
    Ok(body::ok(&AclOut {
        users: acl.users.into_iter().map(user).collect(),
        groups: acl.groups.into_iter().map(group).collect(),
    }))
}

/// Changes of who may read a chat. Who is not named stays.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PatchChatAcl)]
pub struct PatchBody {
    /// By user id: `read` lets in, an empty text lets out.
    user_roles: Option<BTreeMap<String, String>>,
    /// By group id, the same.
    group_roles: Option<BTreeMap<String, String>>,
}

/// What the OpenAPI document says of it.
pub const PATCH: Doc =
    Doc::new("Let users and groups read a chat").takes::<PatchBody>().errors(&[400, 403, 404, 413]);

/// Lets readers in and out.
pub async fn patch(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let chat = shareable(&state, &caller, &path).await?;
    if chat.parent_chat_id.is_some() {
        return Err(Problem::bad_request("A sub-agent chat cannot be shared by itself.")
            .detail(format!("Share its root chat {}; the others follow.", chat.root_chat_id)));
    }
    let body = body::read(&request, payload, state.settings.max_body).await?;
    let body: PatchBody = body::parse(&body)?;
    let users: Vec<(UserId, bool)> = roles("user_roles", body.user_roles.unwrap_or_default())?;
    let groups: Vec<(GroupId, bool)> = roles("group_roles", body.group_roles.unwrap_or_default())?;
    check_users(&state, &caller, &chat, &users).await?;
    check_groups(&state, &chat, &groups).await?;
    let users = users.into_iter().map(|(id, reads)| (AclSubject::User(id), reads));
    let groups = groups.into_iter().map(|(id, reads)| (AclSubject::Group(id), reads));
    let changes: Vec<_> = users.chain(groups).collect();
    if !changes.is_empty() {
        state.store.share(chat.head.id, changes, caller.user.id, state.clock.now()).await?;
    }
    Ok(body::no_content())
}

/// The chat, for a caller who may say who reads it.
async fn shareable(state: &ApiState, caller: &Caller, id: &str) -> Result<ChatRecord> {
    let chat = access::chat(state, caller, id, Right::Share).await?;
    if !state.settings.sharing {
        return Err(Problem::forbidden("Sharing is switched off on this server.")
            .detail("An operator can allow it with chat.sharing = true."));
    }
    Ok(chat)
}

/// The ids of a map of roles, and whether each reads.
fn roles<T: FromStr>(field: &str, map: BTreeMap<String, String>) -> Result<Vec<(T, bool)>> {
    if map.len() > MAX_NAMED {
        return Err(Problem::field(field, format!("{field} may name at most {MAX_NAMED} at once.")));
    }
    map.into_iter()
        .map(|(id, role)| {
            let shown: String = id.chars().take(64).collect();
            let id = uuid(&id).ok_or_else(|| Problem::field(field, format!("{shown:?} is not a UUID.")))?;
            match role.as_str() {
                "read" => Ok((id, true)),
                "" => Ok((id, false)),
                _ => Err(Problem::field(field, format!("The role of {shown} must be \"read\" or empty."))),
            }
        })
        .collect()
}

async fn check_users(
    state: &ApiState,
    caller: &Caller,
    chat: &ChatRecord,
    named: &[(UserId, bool)],
) -> Result<()> {
    let refuse = |detail: String| Err(Problem::field("user_roles", detail));
    for (id, _) in named {
        if *id == caller.user.id {
            return refuse("You cannot change your own role.".to_owned());
        }
        if *id == chat.owner_id {
            return refuse("The owner of the chat has every right to it already.".to_owned());
        }
    }
    if named.is_empty() {
        return Ok(());
    }
    let known = state.store.users_of(named.iter().map(|(id, _)| *id).collect()).await?;
    match named.iter().find(|(id, _)| !known.iter().any(|user| user.id == *id && !user.deleted)) {
        Some((id, _)) => refuse(format!("There is no user {id}.")),
        None => Ok(()),
    }
}

async fn check_groups(state: &ApiState, chat: &ChatRecord, named: &[(GroupId, bool)]) -> Result<()> {
    if named.is_empty() {
        return Ok(());
    }
    let known = state.store.acl_groups(named.iter().map(|(id, _)| *id).collect()).await?;
    let fits = |id: GroupId| known.iter().any(|g| g.id == id && g.organization_id == chat.organization_id);
    match named.iter().find(|(id, _)| !fits(*id)) {
        Some((id, _)) => {
            let what = format!("There is no group {id} in the organization of the chat.");
            Err(Problem::field("group_roles", what))
        }
        None => Ok(()),
    }
}
