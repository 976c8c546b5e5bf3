//! Skills that users wrote: `/users/{user}/skills` (api.md §2.16), for the user and for administrators.

use super::{
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    query::uuid,
    state::ApiState,
    users,
};
use crate::{
    clock::Timestamp,
    ids::{UserId, fresh_uuid},
    store::records::skills::{SkillAdded, SkillRecord},
    tools::skill::{MAX_PER_USER, Skill},
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A skill; `content` is left out in lists.
#[derive(Serialize, ToSchema)]
#[schema(as = UserSkill)]
pub struct SkillOut {
    #[schema(value_type = String, format = "uuid")]
    id: uuid::Uuid,
    name: String,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<SkillRecord> for SkillOut {
    fn from(r: SkillRecord) -> Self {
        Self {
            id: r.id,
            name: r.name,
            description: r.description,
            content: (!r.content.is_empty()).then_some(r.content),
            created_at: r.created_at,
            updated_at: r.updated_at,
        }
    }
}

/// One Markdown file with YAML front matter that gives `name` and `description`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = WriteUserSkill)]
pub struct SkillBody {
    #[schema(required = true)]
    content: Option<String>,
}

async fn read(request: &HttpRequest, state: &ApiState, payload: web::Payload) -> Result<(Skill, String)> {
    let bytes = body::read(request, payload, state.settings.max_body).await?;
    let body: SkillBody = body::parse(&bytes)?;
    let content = body.content.unwrap_or_default();
    if content.contains('\0') {
        return Err(Problem::field("content", "content must not contain a NUL character."));
    }
    let skill = Skill::parse_personal(&content)
        .map_err(|e| Problem::field("content", format!("This is not a skill: {e}.")))?;
    Ok((skill, content))
}

/// The user of the path, who must be the caller unless the caller is an administrator.
async fn owner(state: &ApiState, caller: &Caller, user: &str) -> Result<UserId> {
    Ok(users::user(state, caller, user).await?.id)
}

/// The user who is to have one more skill. That it is too late for that is told to those who may see deleted users.
async fn receiver(state: &ApiState, caller: &Caller, user: &str) -> Result<UserId> {
    match (owner(state, caller, user).await, uuid(user)) {
        (Err(hidden), Some(id)) if caller.user.is_admin() => match state.store.user(id).await {
            Ok(user) if user.deleted => Err(deleted()),
            _ => Err(hidden),
        },
        (found, _) => found,
    }
}

fn deleted() -> Problem {
    Problem::conflict("The user was deleted.")
}

fn missing(e: crate::store::Error) -> Problem {
    Problem::of_store(e, "Skill")
}

/// No name holds anything else, and PostgreSQL cannot be asked for a NUL.
fn known_form(name: &str) -> Result<()> {
    if name.contains('\0') { Err(Problem::not_found("Skill")) } else { Ok(()) }
}

/// What the OpenAPI document says of it.
pub const LIST: Doc =
    Doc::new("Skills of a user, without their content").replies::<Vec<SkillOut>>().errors(&[404]);

/// The skills of a user by name.
pub async fn list(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let user = owner(&state, &caller, &path).await?;
    let all = state.store.skills(user).await?;
    Ok(body::ok(&all.into_iter().map(SkillOut::from).collect::<Vec<_>>()))
}

/// What the OpenAPI document says of it.
pub const CREATE: Doc =
    Doc::new("Write a skill").takes::<SkillBody>().replies::<SkillOut>().errors(&[400, 404, 409, 413]);

/// Makes a skill.
pub async fn create(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let user_id = receiver(&state, &caller, &path).await?;
    let (skill, content) = read(&request, &state, payload).await?;
    let now = state.clock.now();
    let record = SkillRecord {
        id: fresh_uuid(),
        user_id,
        name: skill.name,
        description: skill.description,
        content,
        created_at: now,
        updated_at: now,
    };
    match state.store.add_skill(record.clone(), MAX_PER_USER).await? {
        SkillAdded::Added => {
            state.live.skills_changed(user_id);
            Ok(body::json(StatusCode::CREATED, &SkillOut::from(record)))
        }
        SkillAdded::Duplicate => {
            Err(Problem::conflict(format!("There already is a skill named {:?}.", record.name)))
        }
        SkillAdded::TooMany => Err(Problem::conflict(format!(
            "A user can have at most {MAX_PER_USER} skills. Delete one first."
        ))),
        SkillAdded::NoUser => Err(deleted()),
    }
}

/// What the OpenAPI document says of it.
pub const GET: Doc = Doc::new("A skill with its content").replies::<SkillOut>().errors(&[404]);

/// One skill.
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    let (user, name) = path.into_inner();
    let user = owner(&state, &caller, &user).await?;
    known_form(&name)?;
    let skill = state.store.skill(user, name).await.map_err(missing)?;
    Ok(body::ok(&SkillOut::from(skill)))
}

/// What the OpenAPI document says of it.
pub const CHANGE: Doc = Doc::new("Replace the content of a skill; its name stays")
    .takes::<SkillBody>()
    .replies::<SkillOut>()
    .errors(&[400, 404, 413]);

/// Replaces the content of a skill.
pub async fn change(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    let (user, name) = path.into_inner();
    let user = owner(&state, &caller, &user).await?;
    known_form(&name)?;
    state.store.skill(user, name.clone()).await.map_err(missing)?;
    let (skill, content) = read(&request, &state, payload).await?;
    if skill.name != name {
        let detail =
            format!("A skill keeps its name: the front matter says {:?} instead of {name:?}.", skill.name);
        return Err(Problem::field("content", detail));
    }
    let changed = state.store.change_skill(user, name, skill.description, content, state.clock.now()).await;
    let changed = changed.map_err(missing)?;
    state.live.skills_changed(user);
    Ok(body::ok(&SkillOut::from(changed)))
}

/// What the OpenAPI document says of it.
pub const DELETE: Doc = Doc::new("Delete a skill").errors(&[404]);

/// Removes a skill.
pub async fn delete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    let (user, name) = path.into_inner();
    let user = owner(&state, &caller, &user).await?;
    known_form(&name)?;
    state.store.remove_skill(user, name).await.map_err(missing)?;
    state.live.skills_changed(user);
    Ok(body::no_content())
}
