//! `/chats/insights/pull-requests` (api.md §2.14): what became of the pull requests that chats made.
//! Chats make none yet, so there is nothing to count; the figures are those of an empty range.

use super::{
    auth::Caller,
    body,
    costs::{END_DATE, START_DATE, range},
    doc::Doc,
    problem::{Problem, Result},
    query::Query,
    state::ApiState,
};
use crate::{
    clock::Timestamp,
    ids::{ChatId, ModelConfigId},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

/// Pull requests of a range.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = PullRequestInsights)]
pub struct InsightsOut {
    summary: InsightsSummary,
    time_series: Vec<InsightsDay>,
    by_model: Vec<InsightsByModel>,
    recent_prs: Vec<InsightsPullRequest>,
}

/// Sums; `prev_…` are those of the range of the same length before. Rates lie between 0 and 1.
#[derive(Default, Serialize, ToSchema)]
pub struct InsightsSummary {
    total_prs_created: i64,
    total_prs_merged: i64,
    merge_rate: f64,
    total_additions: i64,
    total_deletions: i64,
    total_cost_micros: i64,
    cost_per_merged_pr_micros: i64,
    approval_rate: f64,
    prev_total_prs_created: i64,
    prev_total_prs_merged: i64,
    prev_merge_rate: f64,
    prev_cost_per_merged_pr_micros: i64,
}

/// One day.
#[derive(Serialize, ToSchema)]
pub struct InsightsDay {
    date: Timestamp,
    prs_created: i64,
    prs_merged: i64,
    prs_closed: i64,
}

/// Those of one model.
#[derive(Serialize, ToSchema)]
pub struct InsightsByModel {
    model_config_id: ModelConfigId,
    display_name: String,
    provider: String,
    total_prs: i64,
    merged_prs: i64,
    merge_rate: f64,
    total_additions: i64,
    total_deletions: i64,
    total_cost_micros: i64,
    cost_per_merged_pr_micros: i64,
}

/// One pull request.
#[derive(Serialize, ToSchema)]
pub struct InsightsPullRequest {
    chat_id: ChatId,
    pr_title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pr_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pr_number: Option<i64>,
    state: String,
    draft: bool,
    additions: i64,
    deletions: i64,
    changed_files: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    commits: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved: Option<bool>,
    changes_requested: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewer_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author_login: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author_avatar_url: Option<String>,
    base_branch: String,
    model_display_name: String,
    cost_micros: i64,
    created_at: Timestamp,
}

/// What the OpenAPI document says of it.
pub const PULL_REQUESTS: Doc = Doc::new("Pull requests that chats made; for administrators")
    .replies::<InsightsOut>()
    .params(&[START_DATE, END_DATE])
    .errors(&[400, 403]);

/// Pull requests of a range.
pub async fn pull_requests(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
) -> Result<HttpResponse> {
    caller.require_admin(|| Problem::forbidden("Only administrators may see this."))?;
    range(&Query::parse(request.query_string())?, state.clock.now())?;
    Ok(body::ok(&InsightsOut::default()))
}
