//! `/chats/insights/pull-requests` (api.md §2.14): what became of the pull requests that chats made, and
//! what they cost. A pull request counts on the day its chat began; what it became is what it is now.

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
    llm::catalog::Catalog,
    store::records::insights::PullRequest,
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Microseconds of a day in UTC.
const DAY_MICROS: i64 = 86_400_000_000;
/// Most pull requests that are listed; the figures are those of all.
const LISTED: usize = 100;

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
    let (start, end) = range(&Query::parse(request.query_string())?, state.clock.now())?;
    let before = start - end.since(start);
    // One read for both ranges: they are counted at the same moment.
    let mut found = state.store.pull_requests(before, end).await?;
    let earlier = found.split_off(found.partition_point(|pr| pr.created_at >= start));
    Ok(body::ok(&InsightsOut::of(&found, &earlier, &state.catalog.current())))
}

/// Sums over pull requests.
#[derive(Default)]
struct Sums {
    all: i64,
    merged: i64,
    approved: i64,
    additions: i64,
    deletions: i64,
    cost: i64,
}

impl Sums {
    fn add(&mut self, pr: &PullRequest) {
        self.all += 1;
        self.merged += i64::from(is(pr, "merged"));
        self.approved += i64::from(pr.diff.approved == Some(true));
        self.additions += pr.diff.additions;
        self.deletions += pr.diff.deletions;
        self.cost += pr.cost_micros;
    }

    fn of(all: &[PullRequest]) -> Self {
        let mut sums = Self::default();
        all.iter().for_each(|pr| sums.add(pr));
        sums
    }

    fn rate(&self, part: i64) -> f64 {
        // Counts of pull requests fit into 32 bits.
        let float = |n: i64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        if self.all == 0 { 0.0 } else { float(part) / float(self.all) }
    }

    fn cost_per_merged(&self) -> i64 {
        self.cost.checked_div(self.merged).unwrap_or(0)
    }
}

fn is(pr: &PullRequest, state: &str) -> bool {
    pr.diff.pull_request_state.as_deref() == Some(state)
}

impl InsightsOut {
    fn of(found: &[PullRequest], earlier: &[PullRequest], catalog: &Catalog) -> Self {
        let (sums, prev) = (Sums::of(found), Sums::of(earlier));
        Self {
            summary: InsightsSummary {
                total_prs_created: sums.all,
                total_prs_merged: sums.merged,
                merge_rate: sums.rate(sums.merged),
                total_additions: sums.additions,
                total_deletions: sums.deletions,
                total_cost_micros: sums.cost,
                cost_per_merged_pr_micros: sums.cost_per_merged(),
                approval_rate: sums.rate(sums.approved),
                prev_total_prs_created: prev.all,
                prev_total_prs_merged: prev.merged,
                prev_merge_rate: prev.rate(prev.merged),
                prev_cost_per_merged_pr_micros: prev.cost_per_merged(),
            },
            time_series: days(found),
            by_model: by_model(found, catalog),
            recent_prs: found.iter().take(LISTED).map(|pr| InsightsPullRequest::of(pr, catalog)).collect(),
        }
    }
}

/// The days on which there were any, the oldest first.
fn days(found: &[PullRequest]) -> Vec<InsightsDay> {
    let mut days: BTreeMap<i64, InsightsDay> = BTreeMap::new();
    for pr in found {
        let day = pr.created_at.as_micros().div_euclid(DAY_MICROS) * DAY_MICROS;
        let date = Timestamp::from_micros(day);
        let entry =
            days.entry(day).or_insert(InsightsDay { date, prs_created: 0, prs_merged: 0, prs_closed: 0 });
        entry.prs_created += 1;
        entry.prs_merged += i64::from(is(pr, "merged"));
        entry.prs_closed += i64::from(is(pr, "closed"));
    }
    days.into_values().collect()
}

/// By model, the one with most pull requests first.
fn by_model(found: &[PullRequest], catalog: &Catalog) -> Vec<InsightsByModel> {
    let mut models: BTreeMap<ModelConfigId, Sums> = BTreeMap::new();
    for pr in found {
        models.entry(pr.model_config_id).or_default().add(pr);
    }
    let mut all: Vec<InsightsByModel> = models
        .into_iter()
        .map(|(id, sums)| InsightsByModel {
            model_config_id: id,
            display_name: display_name(id, catalog),
            provider: catalog
                .model(id)
                .map_or_else(String::new, |m| m.provider.record.kind.as_str().to_owned()),
            total_prs: sums.all,
            merged_prs: sums.merged,
            merge_rate: sums.rate(sums.merged),
            total_additions: sums.additions,
            total_deletions: sums.deletions,
            total_cost_micros: sums.cost,
            cost_per_merged_pr_micros: sums.cost_per_merged(),
        })
        .collect();
    all.sort_by_key(|m| std::cmp::Reverse(m.total_prs));
    all
}

/// Empty when the model is gone.
fn display_name(id: ModelConfigId, catalog: &Catalog) -> String {
    catalog.model(id).map_or_else(String::new, |m| m.display_name().to_owned())
}

impl InsightsPullRequest {
    fn of(pr: &PullRequest, catalog: &Catalog) -> Self {
        let d = &pr.diff;
        Self {
            chat_id: pr.chat_id,
            pr_title: d.pull_request_title.clone(),
            pr_url: d.url.clone(),
            pr_number: d.pr_number,
            state: d.pull_request_state.clone().unwrap_or_default(),
            draft: d.pull_request_draft,
            additions: d.additions,
            deletions: d.deletions,
            changed_files: d.changed_files,
            commits: d.commits,
            approved: d.approved,
            changes_requested: d.changes_requested,
            reviewer_count: d.reviewer_count,
            author_login: d.author_login.clone(),
            author_avatar_url: d.author_avatar_url.clone(),
            base_branch: d.base_branch.clone().unwrap_or_default(),
            model_display_name: display_name(pr.model_config_id, catalog),
            cost_micros: pr.cost_micros,
            created_at: pr.created_at,
        }
    }
}
