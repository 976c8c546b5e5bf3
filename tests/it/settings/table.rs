//! The settings of the deployment, row by row: default, bounds, refusals, who may read and write.

use super::{at, model_id, set, three_models};
use crate::support::both;
use serde_json::{Value, json};

/// One setting.
struct Row {
    path: &'static str,
    default: Value,
    good: Vec<Value>,
    /// Bodies that are refused, and the field that is to blame.
    bad: Vec<(Value, &'static str)>,
    /// What those who are no administrators are answered when they read and when they write.
    for_others: (u16, u16),
}

const MAX_PROMPT: usize = 131_072;
const NIL: &str = "00000000-0000-0000-0000-000000000000";
const STRANGE: &str = "11111111-1111-4111-8111-111111111111";

fn one(key: &str, value: impl Into<Value>) -> Value {
    json!({ key: value.into() })
}

fn days(path: &'static str, key: &'static str, default: i64) -> Row {
    Row {
        path,
        default: one(key, default),
        good: vec![one(key, 0), one(key, 3650), one(key, 7)],
        bad: vec![(one(key, -1), key), (one(key, 3651), key), (one(key, "7"), key), (json!({}), key)],
        for_others: (200, 403),
    }
}

fn switch(path: &'static str, key: &'static str) -> Row {
    Row {
        path,
        default: one(key, false),
        good: vec![one(key, true), one(key, false)],
        bad: vec![(one(key, "yes"), key), (json!({}), key)],
        for_others: (200, 403),
    }
}

fn rows(other: &str, off: &str, template: &str) -> Vec<Row> {
    let advisor = |uses: i64, tokens: i64, model: &str| json!({ "enabled": true, "max_uses_per_run": uses, "max_output_tokens": tokens, "model_config_id": model });
    let with_effort = |effort: &str| {
        let mut body = advisor(0, 0, NIL);
        body["reasoning_effort"] = json!(effort);
        body
    };
    vec![
        Row {
            path: "plan-mode-instructions",
            default: one("plan_mode_instructions", ""),
            good: vec![
                one("plan_mode_instructions", "x".repeat(MAX_PROMPT)),
                one("plan_mode_instructions", "Plan."),
                one("plan_mode_instructions", ""),
            ],
            bad: vec![
                (one("plan_mode_instructions", "x".repeat(MAX_PROMPT + 1)), "plan_mode_instructions"),
                (one("plan_mode_instructions", "a\0b"), "plan_mode_instructions"),
                (json!({}), "plan_mode_instructions"),
            ],
            for_others: (404, 403),
        },
        Row {
            path: "template-allowlist",
            default: one("template_ids", json!([])),
            good: vec![one("template_ids", json!([template])), one("template_ids", json!([]))],
            bad: vec![
                (one("template_ids", json!([template, STRANGE])), "template_ids"),
                (one("template_ids", json!(["local"])), "template_ids[0]"),
            ],
            for_others: (404, 404),
        },
        Row {
            path: "advisor",
            default: json!({ "enabled": false, "max_uses_per_run": 0, "max_output_tokens": 0, "model_config_id": NIL }),
            good: vec![advisor(3, 1000, other), with_effort("high"), advisor(0, 0, NIL)],
            bad: vec![
                (advisor(-1, 0, NIL), "max_uses_per_run"),
                (advisor(0, -1, NIL), "max_output_tokens"),
                (advisor(0, 0, STRANGE), "model_config_id"),
                (advisor(0, 0, off), "model_config_id"),
                (with_effort("extreme"), "reasoning_effort"),
            ],
            for_others: (200, 403),
        },
        Row {
            path: "computer-use-provider",
            default: one("provider", "anthropic"),
            good: vec![one("provider", "openai"), one("provider", "anthropic")],
            bad: vec![(one("provider", "google"), "provider"), (one("provider", ""), "provider")],
            for_others: (200, 403),
        },
        Row {
            path: "workspace-ttl",
            default: one("workspace_ttl_ms", 0),
            good: [60_000_i64, 2_592_000_000, 0].map(|ms| one("workspace_ttl_ms", ms)).to_vec(),
            bad: [-1_i64, 59_999, 2_592_000_001]
                .map(|ms| (one("workspace_ttl_ms", ms), "workspace_ttl_ms"))
                .to_vec(),
            for_others: (200, 403),
        },
        switch("personal-model-overrides", "allow_users"),
        switch("desktop-enabled", "enable_desktop"),
        days("retention-days", "retention_days", 30),
        days("debug-retention-days", "debug_retention_days", 30),
        days("auto-archive-days", "auto_archive_days", 0),
    ]
}

both! {
    async fn every_setting_of_the_deployment_keeps_to_its_row(h: Harness) {
        three_models(&h);
        let mut daemon = h.daemon().await;
        let admin = daemon.api();
        let user = daemon.api_as(&daemon.token_for("user", &[]).await);
        let (other, off) = (model_id(&admin, "other").await, model_id(&admin, "off").await);
        // The template of the built-in configuration; its id is the same everywhere and for ever.
        let template = "e82d4272-fdc4-5981-8159-0173d6c27515";
        let rows = rows(&other, &off, template);
        for row in &rows {
            let path = at(row.path);
            let shown = admin.get(&path).await.json(200);
            assert_eq!(shown, row.default, "{path}");
            let (reads, writes) = row.for_others;
            if reads == 200 {
                assert_eq!(user.get(&path).await.json(200), row.default, "{path}");
            } else {
                user.get(&path).await.problem(reads);
            }
            user.put(&path, row.good[0].clone()).await.problem(writes);
            admin.with_token(None).get(&path).await.problem(401);
            for (body, field) in &row.bad {
                let problem = admin.put(&path, body.clone()).await.problem(400);
                assert_eq!(problem["validations"][0]["field"], json!(field), "{path}: {problem}");
            }
            admin.put(&path, json!([])).await.problem(400);
            admin.put(&path, one("big", "x".repeat(256 * 1024))).await.problem(413);
            assert_eq!(admin.get(&path).await.json(200), row.default, "{path}: a refusal changes nothing");
            for body in &row.good {
                set(&admin, row.path, body.clone()).await;
                assert_eq!(&admin.get(&path).await.json(200), body, "{path}");
            }
            set(&admin, row.path, row.good[0].clone()).await;
        }
        daemon.stop().await;
        daemon.restart().await;
        let admin = daemon.api();
        for row in &rows {
            assert_eq!(admin.get(&at(row.path)).await.json(200), row.good[0], "{} after a restart", row.path);
        }
    }

    async fn a_deprecated_template_cannot_be_allowed(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let made = api.post("/api/v2/templates", json!({ "name": "mine", "kind": "external" })).await.json(201);
        let (id, list) = (&made["id"], json!([made["id"]]));
        set(&api, "template-allowlist", one("template_ids", list.clone())).await;
        let template = format!("/api/v2/templates/{}", id.as_str().unwrap());
        api.patch(&template, json!({ "deprecated": true })).await.json(200);
        let problem = api.put(&at("template-allowlist"), one("template_ids", list)).await.problem(400);
        assert_eq!(problem["validations"][0]["field"], "template_ids");
        // An empty list as Go writes one; to say nothing is not to allow all.
        api.put(&at("template-allowlist"), json!({})).await.problem(400);
        set(&api, "template-allowlist", one("template_ids", Value::Null)).await;
        assert_eq!(api.get(&at("template-allowlist")).await.json(200), one("template_ids", json!([])));
    }

    async fn both_prefixes_serve_what_is_not_experimental(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        for path in ["system-prompt", "user-prompt", "retention-days", "model-override/general"] {
            let of_first = api.get(&at(path)).await.json(200);
            assert_eq!(api.get(&format!("/api/v2/chats/config/{path}")).await.json(200), of_first);
        }
        for path in ["advisor", "computer-use-provider", "unheard-of"] {
            api.get(&format!("/api/v2/chats/config/{path}")).await.problem(404);
        }
    }

    async fn the_configuration_is_the_default_until_something_is_set(h: Harness) {
        h.configure("[chat]\nauto_archive_days = 12\ndebug_retention_days = 3");
        let daemon = h.daemon().await;
        let api = daemon.api();
        assert_eq!(api.get(&at("auto-archive-days")).await.json(200), one("auto_archive_days", 12));
        assert_eq!(api.get(&at("debug-retention-days")).await.json(200), one("debug_retention_days", 3));
        set(&api, "auto-archive-days", one("auto_archive_days", 0)).await;
        assert_eq!(api.get(&at("auto-archive-days")).await.json(200), one("auto_archive_days", 0));
    }
}
