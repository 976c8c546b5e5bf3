//! Insights into the pull requests of chats.

use super::support::{Engine, NOW, on_both, world};
use crate::{
    chat::message::StepFigures,
    clock::Timestamp,
    ids::ChatId,
    store::{
        records::{DiffRecord, DiffReference},
        spend::{CallKind, ModelCall},
    },
};
use serde_json::{Value, json};
use std::time::Duration;

on_both!(pull_requests_are_counted_with_what_they_cost);

fn pull_request(state: &str, approved: Option<bool>) -> DiffRecord {
    DiffRecord {
        url: Some("https://github.com/acme/shop/pull/7".into()),
        pull_request_state: Some(state.into()),
        pull_request_title: format!("{state} one"),
        additions: 10,
        deletions: 3,
        changed_files: 2,
        base_branch: Some("main".into()),
        pr_number: Some(7),
        approved,
        ..DiffRecord::default()
    }
}

async fn pull_requests_are_counted_with_what_they_cost(on: Engine) {
    let world = world(on).await;
    let store = &world.state.store;
    let model = world.own("GET", "/model-configs", Value::Null).await.body[0].clone();
    let set = async |chat: ChatId, diff| {
        store.set_diff_status(world.owner_id, chat, diff, DiffReference::default()).await.unwrap();
    };
    let (merged, closed, plain) = (world.chat().await, world.chat().await, world.chat().await);
    set(merged, pull_request("merged", Some(true))).await;
    set(closed, pull_request("closed", None)).await;
    set(plain, DiffRecord::default()).await;
    let call = ModelCall {
        kind: CallKind::ChatTurn,
        model_config_id: model["id"].as_str().unwrap().parse().unwrap(),
        provider: "p".into(),
        model: "m".into(),
        figures: StepFigures { cost_micros: Some(500), ..StepFigures::default() },
    };
    store.charge(merged, call.clone(), NOW).await.unwrap();
    store.charge(closed, call, NOW).await.unwrap();
    let get = async |start: Timestamp, end: Timestamp| {
        let path = format!("/insights/pull-requests?start_date={start}&end_date={end}");
        let answer = world.call(&world.admin, "GET", &path, Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    let hour = Duration::from_secs(3600);
    let body = get(NOW - hour, NOW + hour).await;
    assert_eq!(
        body["summary"],
        json!({
            "total_prs_created": 2, "total_prs_merged": 1, "merge_rate": 0.5, "total_additions": 20,
            "total_deletions": 6, "total_cost_micros": 1000, "cost_per_merged_pr_micros": 1000,
            "approval_rate": 0.5, "prev_total_prs_created": 0, "prev_total_prs_merged": 0,
            "prev_merge_rate": 0.0, "prev_cost_per_merged_pr_micros": 0,
        })
    );
    let day = &body["time_series"][0];
    assert_eq!(
        (&day["prs_created"], &day["prs_merged"], &day["prs_closed"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert!(day["date"].as_str().unwrap().ends_with("T00:00:00Z"), "{day}");
    let by_model = &body["by_model"][0];
    assert_eq!((&by_model["total_prs"], &by_model["merged_prs"]), (&json!(2), &json!(1)));
    assert_eq!(by_model["display_name"], model["display_name"]);
    let recent = body["recent_prs"].as_array().unwrap();
    assert_eq!(recent.len(), 2);
    assert_eq!(
        recent[1],
        json!({
            "chat_id": merged, "pr_title": "merged one", "pr_url": "https://github.com/acme/shop/pull/7",
            "pr_number": 7, "state": "merged", "draft": false, "additions": 10, "deletions": 3, "changed_files": 2,
            "approved": true, "changes_requested": false, "base_branch": "main",
            "model_display_name": model["display_name"], "cost_micros": 500, "created_at": NOW,
        })
    );
    // The range before is the one of the same length.
    let later = get(NOW + hour, NOW + 3 * hour).await;
    assert_eq!(later["summary"]["total_prs_created"], 0);
    assert_eq!(later["summary"]["prev_total_prs_created"], 2);
    assert_eq!(later["summary"]["prev_merge_rate"], 0.5);
    assert_eq!((&later["recent_prs"], &later["time_series"]), (&json!([]), &json!([])));
}
