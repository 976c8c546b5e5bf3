//! `/chats/usage-limits`: how much of the models' cost users may spend (api.md §2.14).

use super::{
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    query::{path_id, uuid},
    state::ApiState,
    users,
};
use crate::{
    clock::Timestamp,
    ids::{GroupId, UserId},
    llm::catalog::ModelEntry,
    store::spend::{GroupLimit, LimitRecord, Period, Standing, UserLimit, Whose},
    turn::cost::Prices,
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The default limit with all exceptions.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageLimits)]
pub struct LimitsOut<'a> {
    /// Micro-dollars a period; `null` = limits are off for everybody.
    #[schema(required = true)]
    spend_limit_micros: Option<i64>,
    period: &'static str,
    updated_at: Timestamp,
    /// Enabled models without a price: what they cost counts as nothing.
    unpriced_model_count: usize,
    overrides: Vec<UserLimitOut<'a>>,
    group_overrides: Vec<GroupLimitOut<'a>>,
}

/// The default limit.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageLimit)]
pub struct LimitOut {
    /// Micro-dollars a period; `null` = limits are off for everybody.
    #[schema(required = true)]
    spend_limit_micros: Option<i64>,
    period: &'static str,
    updated_at: Timestamp,
}

impl From<&LimitRecord> for LimitOut {
    fn from(l: &LimitRecord) -> Self {
        Self { spend_limit_micros: l.spend_limit_micros, period: l.period.as_str(), updated_at: l.updated_at }
    }
}

/// The limit of one user.
#[derive(Serialize, ToSchema)]
#[schema(as = UserUsageLimit)]
pub struct UserLimitOut<'a> {
    user_id: UserId,
    username: &'a str,
    name: &'a str,
    avatar_url: &'a str,
    spend_limit_micros: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl<'a> From<&'a UserLimit> for UserLimitOut<'a> {
    fn from(l: &'a UserLimit) -> Self {
        Self {
            user_id: l.user_id,
            username: &l.username,
            name: &l.name,
            avatar_url: &l.avatar_url,
            spend_limit_micros: l.spend_limit_micros,
            created_at: l.created_at,
            updated_at: l.updated_at,
        }
    }
}

/// The limit of each member of a group, for what is spent in the group's organization.
#[derive(Serialize, ToSchema)]
#[schema(as = GroupUsageLimit)]
pub struct GroupLimitOut<'a> {
    group_id: GroupId,
    group_name: &'a str,
    group_display_name: &'a str,
    group_avatar_url: &'a str,
    member_count: i64,
    spend_limit_micros: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl<'a> From<&'a GroupLimit> for GroupLimitOut<'a> {
    fn from(l: &'a GroupLimit) -> Self {
        Self {
            group_id: l.group_id,
            group_name: &l.name,
            group_display_name: &l.display_name,
            group_avatar_url: &l.avatar_url,
            member_count: l.member_count,
            spend_limit_micros: l.spend_limit_micros,
            created_at: l.created_at,
            updated_at: l.updated_at,
        }
    }
}

/// How a user stands to their limit.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageLimitStatus)]
pub struct StatusOut {
    /// Whether a limit applies; not whether it is reached.
    is_limited: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spend_limit_micros: Option<i64>,
    /// Micro-dollars that count against the limit in this period; 0 without a limit.
    current_spend: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    period_start: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period_end: Option<Timestamp>,
}

impl From<Option<Standing>> for StatusOut {
    fn from(standing: Option<Standing>) -> Self {
        Self {
            is_limited: standing.is_some(),
            period: standing.map(|s| s.period.as_str()),
            spend_limit_micros: standing.map(|s| s.limit_micros),
            current_spend: standing.map_or(0, |s| s.spent_micros),
            period_start: standing.map(|s| s.start),
            period_end: standing.map(|s| s.end),
        }
    }
}

impl StatusOut {
    /// Itself when limits are on.
    pub(super) fn limited(self) -> Option<Self> {
        self.is_limited.then_some(self)
    }
}

fn administer(caller: &Caller) -> Result<()> {
    caller.require_admin(|| Problem::forbidden("Only administrators may set spend limits."))
}

/// What the OpenAPI document says of it.
pub const LIST: Doc =
    Doc::new("All spend limits; for administrators").replies::<LimitsOut<'static>>().errors(&[404]);

/// All limits.
pub async fn list(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    caller.require_admin(|| Problem::not_found("Resource"))?;
    let limits = state.store.spend_limits().await?;
    Ok(body::ok(&LimitsOut {
        spend_limit_micros: limits.default.spend_limit_micros,
        period: limits.default.period.as_str(),
        updated_at: limits.default.updated_at,
        unpriced_model_count: unpriced_models(&state),
        overrides: limits.users.iter().map(UserLimitOut::from).collect(),
        group_overrides: limits.groups.iter().map(GroupLimitOut::from).collect(),
    }))
}

/// Models that can be picked and have no price at all.
fn unpriced_models(state: &ApiState) -> usize {
    let unpriced = |m: &ModelEntry| {
        m.is_offered()
            && Prices::from_model_config(&m.record.model_config).is_ok_and(|p| p == Prices::default())
    };
    state.catalog.current().models().iter().filter(|m| unpriced(m)).count()
}

/// The default limit to set.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SetUsageLimit)]
pub struct LimitBody {
    /// Micro-dollars a period, greater than 0; `null` switches limits off for everybody.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = Option<i64>, required = true, minimum = 1)]
    spend_limit_micros: Option<Option<i64>>,
    /// `day`, `week` or `month`, in UTC; may be left out when limits are switched off.
    period: Option<String>,
}

/// What the OpenAPI document says of it.
pub const SET: Doc =
    Doc::new("Set the spend limit of everybody without one of their own; for administrators")
        .takes::<LimitBody>()
        .replies::<LimitOut>()
        .errors(&[400, 403, 413]);

/// Sets the default.
pub async fn set(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    administer(&caller)?;
    let body: LimitBody = body::parse(&body::read(&request, payload, body::SMALL_LIMIT).await?)?;
    // Limits are never switched off by what somebody forgot to say.
    let Some(limit) = body.spend_limit_micros else {
        let why = "spend_limit_micros is required; null switches limits off for everybody.";
        return Err(Problem::field("spend_limit_micros", why));
    };
    if limit.is_some_and(|micros| micros <= 0) {
        return Err(positive());
    }
    let period = match body.period.as_deref() {
        None | Some("") if limit.is_none() => Period::Month,
        name => name
            .and_then(Period::named)
            .ok_or_else(|| Problem::field("period", "period must be day, week or month."))?,
    };
    let set = state.store.set_spend_limit(limit, period, state.clock.now()).await?;
    Ok(body::ok(&LimitOut::from(&set)))
}

fn positive() -> Problem {
    Problem::field("spend_limit_micros", "spend_limit_micros must be a whole number greater than 0.")
}

/// What the OpenAPI document says of it.
pub const STATUS: Doc = Doc::new("How the caller stands to their spend limit").replies::<StatusOut>();

/// How the caller stands.
pub async fn status(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    Ok(body::ok(&status_of(&state, caller.user.id).await?))
}

/// How a user stands.
pub(super) async fn status_of(state: &ApiState, user: UserId) -> Result<StatusOut> {
    Ok(state.store.standing(Whose::User(user), state.clock.now()).await?.into())
}

/// A limit to set for a user or a group.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SetUsageLimitOverride)]
pub struct OverrideBody {
    /// Micro-dollars a period, greater than 0.
    #[schema(required = true, minimum = 1)]
    spend_limit_micros: Option<i64>,
}

async fn override_of(request: &HttpRequest, payload: web::Payload) -> Result<i64> {
    let body: OverrideBody = body::parse(&body::read(request, payload, body::SMALL_LIMIT).await?)?;
    body.spend_limit_micros.filter(|micros| *micros > 0).ok_or_else(positive)
}

/// What the OpenAPI document says of it.
pub const SET_USER: Doc = Doc::new("Set the spend limit of a user; for administrators")
    .takes::<OverrideBody>()
    .replies::<UserLimitOut<'static>>()
    .errors(&[400, 403, 404, 413]);

/// Sets the limit of a user.
pub async fn set_user(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    administer(&caller)?;
    let user = users::user(&state, &caller, &path).await?;
    let micros = override_of(&request, payload).await?;
    let set = state.store.set_user_limit(user.id, micros, state.clock.now()).await?;
    Ok(body::ok(&UserLimitOut::from(&set)))
}

fn no_override() -> Problem {
    Problem::bad_request("There is no such spend limit.")
}

/// What the OpenAPI document says of it.
pub const DELETE_USER: Doc =
    Doc::new("Remove the spend limit of a user; for administrators").errors(&[400, 403]);

/// Removes the limit of a user. A user whom nobody knows has none.
pub async fn delete_user(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    administer(&caller)?;
    // By id also that of a user who is deleted by now.
    let id = match uuid(&path) {
        Some(id) => id,
        None => match users::user(&state, &caller, &path).await {
            Ok(user) => user.id,
            Err(problem) if problem.status() == 404 => return Err(no_override()),
            Err(problem) => return Err(problem),
        },
    };
    if state.store.delete_user_limit(id).await? { Ok(body::no_content()) } else { Err(no_override()) }
}

/// What the OpenAPI document says of it.
pub const SET_GROUP: Doc = Doc::new("Set the spend limit of each member of a group; for administrators")
    .takes::<OverrideBody>()
    .replies::<GroupLimitOut<'static>>()
    .errors(&[400, 403, 404, 413]);

/// Sets the limit of the members of a group.
pub async fn set_group(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse> {
    administer(&caller)?;
    let id: GroupId = path_id(&path, "group")?;
    let group = state.store.group(id).await.map_err(|e| Problem::of_store(e, "Group"))?;
    let micros = override_of(&request, payload).await?;
    let set = state.store.set_group_limit(group.id, micros, state.clock.now()).await?;
    Ok(body::ok(&GroupLimitOut::from(&set)))
}

/// What the OpenAPI document says of it.
pub const DELETE_GROUP: Doc =
    Doc::new("Remove the spend limit of a group; for administrators").errors(&[400, 403]);

/// Removes the limit of the members of a group.
pub async fn delete_group(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    administer(&caller)?;
    let gone = state.store.delete_group_limit(path_id(&path, "group")?).await?;
    if gone { Ok(body::no_content()) } else { Err(no_override()) }
}
