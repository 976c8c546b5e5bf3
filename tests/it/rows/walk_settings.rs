//! The walk through the settings: `/chats/config/*`, limits, costs.

use super::walk::Walk;
use serde_json::{Value, json};

const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// Settings with one value for everybody; their PUT answers 204.
fn settings() -> Vec<(&'static str, Value)> {
    vec![
        ("system-prompt", json!({ "system_prompt": "Be kind.", "include_default_system_prompt": true })),
        ("plan-mode-instructions", json!({ "plan_mode_instructions": "Plan." })),
        ("template-allowlist", json!({ "template_ids": [] })),
        ("personal-model-overrides", json!({ "allow_users": true })),
        ("desktop-enabled", json!({ "enable_desktop": false })),
        ("debug-logging", json!({ "allow_users": true })),
        ("user-debug-logging", json!({ "debug_logging_enabled": true })),
        ("workspace-ttl", json!({ "workspace_ttl_ms": 60_000 })),
        ("retention-days", json!({ "retention_days": 7 })),
        ("debug-retention-days", json!({ "debug_retention_days": 7 })),
        ("auto-archive-days", json!({ "auto_archive_days": 7 })),
    ]
}

/// Settings below one of the two prefixes.
pub async fn settings_below(walk: &mut Walk, prefix: &str, model: &str) {
    for (name, body) in settings() {
        let path = format!("{prefix}/config/{name}");
        walk.call("PUT", &path, &[], body, 204).await;
        assert!(walk.call("GET", &path, &[], Value::Null, 200).await.body.is_object(), "{path}");
    }
    let own = format!("{prefix}/config/user-prompt");
    walk.call("PUT", &own, &[], json!({ "custom_prompt": "Be brief." }), 200).await;
    walk.call("GET", &own, &[], Value::Null, 200).await;
    let thresholds = format!("{prefix}/config/user-compaction-thresholds");
    let one = format!("{thresholds}/{{modelConfig}}");
    walk.call("PUT", &one, &[model], json!({ "threshold_percent": 50 }), 200).await;
    let held = walk.call("GET", &thresholds, &[], Value::Null, 200).await.body;
    assert_eq!(held["thresholds"][0]["threshold_percent"], 50);
    walk.call("DELETE", &one, &[model], Value::Null, 204).await;
    let context = format!("{prefix}/config/model-override/{{context}}");
    walk.call("PUT", &context, &["general"], json!({ "model_config_id": model }), 204).await;
    walk.call("GET", &context, &["general"], Value::Null, 200).await;
    let personal = format!("{prefix}/config/user-personal-model-overrides");
    walk.call("PUT", &format!("{personal}/{{context}}"), &["root"], json!({ "mode": "chat_default" }), 204)
        .await;
    walk.call("GET", &personal, &[], Value::Null, 200).await;
}

/// Settings that stand below the first prefix alone.
pub async fn experimental(walk: &mut Walk) {
    let advisor = "/api/experimental/chats/config/advisor";
    let body =
        json!({ "enabled": false, "max_uses_per_run": 3, "max_output_tokens": 1000, "model_config_id": NIL });
    walk.call("PUT", advisor, &[], body, 204).await;
    walk.call("GET", advisor, &[], Value::Null, 200).await;
    let provider = "/api/experimental/chats/config/computer-use-provider";
    walk.call("PUT", provider, &[], json!({ "provider": "openai" }), 204).await;
    walk.call("GET", provider, &[], Value::Null, 200).await;
}

/// Limits of spending, costs and insights below one of the two prefixes.
pub async fn money_below(walk: &mut Walk, prefix: &str, user: &str, group: &str) {
    let limits = format!("{prefix}/usage-limits");
    let limit = json!({ "spend_limit_micros": 1_000_000_000 });
    walk.call("PUT", &limits, &[], json!({ "spend_limit_micros": 1_000_000_000, "period": "day" }), 200)
        .await;
    let of_user = format!("{limits}/overrides/{{user}}");
    let of_group = format!("{limits}/group-overrides/{{group}}");
    walk.call("PUT", &of_user, &[user], limit.clone(), 200).await;
    walk.call("PUT", &of_group, &[group], limit, 200).await;
    walk.call("GET", &limits, &[], Value::Null, 200).await;
    walk.call("GET", &format!("{limits}/status"), &[], Value::Null, 200).await;
    walk.call("DELETE", &of_user, &[user], Value::Null, 204).await;
    walk.call("DELETE", &of_group, &[group], Value::Null, 204).await;
    walk.call("GET", &format!("{prefix}/cost/users"), &[], Value::Null, 200).await;
    walk.call("GET", &format!("{prefix}/cost/{{user}}/summary"), &["me"], Value::Null, 200).await;
    walk.call("GET", &format!("{prefix}/insights/pull-requests"), &[], Value::Null, 200).await;
}
