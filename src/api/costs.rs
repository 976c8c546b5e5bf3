//! What models cost: `/chats/cost/…`, `/chats/{chat}/cost` (api.md §2.14). All of it is summed over the
//! ledger, which has a row for every model call, titles and summaries included.

use super::{
    access::{self, Right},
    auth::Caller,
    body,
    doc::{Doc, Param, ParamKind},
    problem::{Problem, Result},
    query::Query,
    state::ApiState,
    usage_limits::{self, StatusOut},
    users,
};
use crate::{
    clock::Timestamp,
    ids::{ChatId, ModelConfigId, UserId},
    llm::catalog::Catalog,
    store::spend::{ChatCosts, ModelCosts, Spender, SpenderPage, Totals},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Range that is shown when none is asked for (api.md §2.14).
const DEFAULT_RANGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Users of a page when no number is asked for (api.md §1.6).
const DEFAULT_PAGE: i64 = 10;
/// Most users of a page.
const MAX_PAGE: i64 = 1000;

/// First moment of a range.
pub(super) const START_DATE: Param =
    Param::query("start_date", ParamKind::Time, "From this moment on; 30 days before end_date if absent");
/// End of a range.
pub(super) const END_DATE: Param =
    Param::query("end_date", ParamKind::Time, "Before this moment; now if absent");

/// The range that a query asks for, the end excluded.
pub(super) fn range(query: &Query, now: Timestamp) -> Result<(Timestamp, Timestamp)> {
    let time = |key: &str| {
        let read = |text: &str| text.parse::<Timestamp>().ok();
        let wrong = || Problem::field(key, format!("{key} must be an RFC 3339 time."));
        query.get(key).map(|text| read(text).ok_or_else(wrong)).transpose()
    };
    let end = time("end_date")?.unwrap_or(now);
    let start = time("start_date")?.unwrap_or(end - DEFAULT_RANGE);
    if start >= end {
        return Err(Problem::field("start_date", "start_date must be before end_date."));
    }
    Ok((start, end))
}

/// Sums of tokens and time.
#[derive(Serialize, ToSchema)]
#[schema(as = CostTokenTotals)]
pub struct TokensOut {
    total_input_tokens: i64,
    total_output_tokens: i64,
    total_cache_read_tokens: i64,
    total_cache_creation_tokens: i64,
    total_runtime_ms: i64,
}

impl From<&Totals> for TokensOut {
    fn from(t: &Totals) -> Self {
        Self {
            total_input_tokens: t.input_tokens,
            total_output_tokens: t.output_tokens,
            total_cache_read_tokens: t.cache_read_tokens,
            total_cache_creation_tokens: t.cache_creation_tokens,
            total_runtime_ms: t.runtime_ms,
        }
    }
}

/// What one user spent.
#[derive(Serialize, ToSchema)]
#[schema(as = CostSummary)]
pub struct SummaryOut<'a> {
    start_date: Timestamp,
    end_date: Timestamp,
    total_cost_micros: i64,
    /// Model calls that had a price.
    priced_message_count: i64,
    /// Model calls that had none.
    unpriced_message_count: i64,
    #[serde(flatten)]
    tokens: TokensOut,
    by_model: Vec<ByModelOut<'a>>,
    by_chat: Vec<ByChatOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_limit: Option<StatusOut>,
}

/// What was spent with one model.
#[derive(Serialize, ToSchema)]
#[schema(as = CostByModel)]
pub struct ByModelOut<'a> {
    /// The nil UUID when the model is not known any more.
    model_config_id: ModelConfigId,
    display_name: &'a str,
    provider: &'a str,
    model: &'a str,
    total_cost_micros: i64,
    message_count: i64,
    #[serde(flatten)]
    tokens: TokensOut,
}

impl<'a> ByModelOut<'a> {
    /// What the row does not know any more comes from the model as it is now.
    fn new(catalog: &'a Catalog, costs: &'a ModelCosts) -> Self {
        let entry = costs.model_config_id.and_then(|id| catalog.model(id));
        let or = |kept: &'a str, now: Option<&'a str>| if kept.is_empty() { now.unwrap_or("") } else { kept };
        let model = or(&costs.model, entry.map(|e| e.record.model.as_str()));
        Self {
            model_config_id: costs.model_config_id.unwrap_or(ModelConfigId(uuid::Uuid::nil())),
            display_name: entry.map_or(model, |e| e.display_name()),
            provider: or(&costs.provider, entry.map(|e| e.provider.record.kind.as_str())),
            model,
            total_cost_micros: costs.totals.cost_micros,
            message_count: costs.totals.calls,
            tokens: (&costs.totals).into(),
        }
    }
}

/// What was spent in one root chat and its sub-agents.
#[derive(Serialize, ToSchema)]
#[schema(as = CostByChat)]
pub struct ByChatOut<'a> {
    root_chat_id: ChatId,
    chat_title: &'a str,
    total_cost_micros: i64,
    message_count: i64,
    #[serde(flatten)]
    tokens: TokensOut,
}

impl<'a> From<&'a ChatCosts> for ByChatOut<'a> {
    fn from(c: &'a ChatCosts) -> Self {
        Self {
            root_chat_id: c.root_chat_id,
            chat_title: &c.title,
            total_cost_micros: c.totals.cost_micros,
            message_count: c.totals.calls,
            tokens: (&c.totals).into(),
        }
    }
}

/// What the OpenAPI document says of it.
pub const SUMMARY: Doc = Doc::new("What a user spent; for the user and for administrators")
    .replies::<SummaryOut<'static>>()
    .params(&[START_DATE, END_DATE])
    .errors(&[400, 403, 404]);

/// What a user spent.
pub async fn summary(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    // Whether there is such a user is not told to others: all are forbidden alike.
    let user = match users::user(&state, &caller, &path).await {
        Err(problem) if problem.status() == 404 && !caller.user.is_admin() => {
            return Err(Problem::forbidden("You may see your own costs only."));
        }
        other => other?,
    };
    let (start_date, end_date) = range(&Query::parse(request.query_string())?, state.clock.now())?;
    let costs = state.store.user_costs(user.id, start_date, end_date).await?;
    let catalog = state.catalog.current();
    let status = usage_limits::status_of(&state, user.id).await?;
    Ok(body::ok(&SummaryOut {
        start_date,
        end_date,
        total_cost_micros: costs.totals.cost_micros,
        priced_message_count: costs.totals.priced,
        unpriced_message_count: costs.totals.calls - costs.totals.priced,
        tokens: (&costs.totals).into(),
        by_model: costs.models.iter().map(|m| ByModelOut::new(&catalog, m)).collect(),
        by_chat: costs.chats.iter().map(ByChatOut::from).collect(),
        usage_limit: status.limited(),
    }))
}

/// A page of the users who spent something, the greatest spender first.
#[derive(Serialize, ToSchema)]
#[schema(as = CostUsers)]
pub struct UsersOut<'a> {
    start_date: Timestamp,
    end_date: Timestamp,
    /// How many there are on all pages.
    count: i64,
    users: Vec<SpenderOut<'a>>,
}

/// What one of them spent.
#[derive(Serialize, ToSchema)]
#[schema(as = CostUser)]
pub struct SpenderOut<'a> {
    user_id: UserId,
    username: &'a str,
    name: &'a str,
    avatar_url: &'a str,
    total_cost_micros: i64,
    message_count: i64,
    chat_count: i64,
    #[serde(flatten)]
    tokens: TokensOut,
}

impl<'a> From<&'a Spender> for SpenderOut<'a> {
    fn from(s: &'a Spender) -> Self {
        Self {
            user_id: s.user_id,
            username: &s.username,
            name: &s.name,
            avatar_url: &s.avatar_url,
            total_cost_micros: s.totals.cost_micros,
            message_count: s.totals.calls,
            chat_count: s.chats,
            tokens: (&s.totals).into(),
        }
    }
}

/// What the OpenAPI document says of it.
pub const USERS: Doc = Doc::new("What all users spent; for administrators. Unknown query keys are refused")
    .replies::<UsersOut<'static>>()
    .params(&[
        START_DATE,
        END_DATE,
        Param::query("username", ParamKind::Text, "Part of the user name"),
        Param::query("limit", ParamKind::Integer(0, MAX_PAGE), "Users of a page; 0 = 10"),
        Param::query("offset", ParamKind::Integer(0, i64::MAX), "Users to skip"),
    ])
    .errors(&[400, 404]);

/// What all users spent.
pub async fn users(request: HttpRequest, state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    caller.require_admin(|| Problem::not_found("Resource"))?;
    let query = Query::parse(request.query_string())?;
    query.only(&["start_date", "end_date", "username", "limit", "offset"])?;
    let (start_date, end_date) = range(&query, state.clock.now())?;
    let username = query.get("username");
    if username.is_some_and(|name| name.contains('\0')) {
        return Err(Problem::field("username", "username must not hold a NUL character."));
    }
    let limit = query.number("limit", 0..=MAX_PAGE, "a whole number from 0 to 1000")?;
    let offset = query.number("offset", 0.., "a whole number that is not negative")?;
    let page = SpenderPage {
        start: start_date,
        end: end_date,
        username: username.map(str::to_owned),
        limit: limit.filter(|n| *n > 0).unwrap_or(DEFAULT_PAGE),
        offset: offset.unwrap_or(0),
    };
    let (spenders, count) = state.store.spenders(page).await?;
    let users = spenders.iter().map(SpenderOut::from).collect();
    Ok(body::ok(&UsersOut { start_date, end_date, count, users }))
}

/// What a chat cost.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatCost)]
pub struct ChatCostOut {
    chat_id: ChatId,
    total_cost_micros: i64,
    /// Model calls.
    request_count: i64,
    /// Those without a price.
    unpriced_request_count: i64,
}

/// What the OpenAPI document says of it.
pub const OF_CHAT: Doc =
    Doc::new("What a chat and its sub-agents cost").replies::<ChatCostOut>().errors(&[400, 404]);

/// What a chat cost, for its owner and for administrators: readers see what is said in it and nothing else.
pub async fn of_chat(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let chat_id = access::only_id(&state, &caller, &path, Right::Update).await?;
    let totals = state.store.chat_costs(chat_id).await.map_err(Problem::of_chat)?;
    Ok(body::ok(&ChatCostOut {
        chat_id,
        total_cost_micros: totals.cost_micros,
        request_count: totals.calls,
        unpriced_request_count: totals.calls - totals.priced,
    }))
}
