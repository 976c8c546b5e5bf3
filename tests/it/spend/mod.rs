//! What models cost and how much of it users may spend (api.md §1.8, §2.14), over HTTP.

use crate::support::{
    Harness, both,
    client::Api,
    daemon::DaemonProcess,
    fake_model::{Gate, fails, says},
    turns::{id, text},
};
use serde_json::{Value, json};

const LIMITS: &str = "/chats/usage-limits";
/// A reply of the fake model has 10 input and 5 output tokens.
const CALL: i64 = 10 + 5 * 10;

/// A daemon whose model has prices; titles cost nothing.
async fn priced(h: &Harness) -> DaemonProcess {
    h.configure_model("input_price_per_million = \"1\"\noutput_price_per_million = \"10\"");
    h.model.answer_titles(|_| fails(400, json!({ "error": { "message": "no titles" } })));
    h.daemon().await
}

async fn user(daemon: &DaemonProcess, name: &str) -> (String, Api) {
    let body = json!({ "username": name, "email": format!("{name}@example.test"), "password": "correct horse battery" });
    let made = daemon.api().post("/api/v2/users", body.clone()).await.json(201);
    let answer = Api::new(daemon.url(), None).post("/api/v2/users/login", body).await.json(201);
    (id(&made), daemon.api_as(answer["session_token"].as_str().expect("a session token")))
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

both! {
    async fn whoever_reached_the_limit_is_told_with_four_keys(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        let daemon = priced(&h).await;
        let api = daemon.api();
        let off = json!({ "is_limited": false, "current_spend": 0 });
        assert_eq!(api.get(&format!("{LIMITS}/status")).await.json(200), off);
        let chat = id(&api.create_chat("Hello.").await);
        let mut stream = api.stream(&chat, None).await;
        stream.answered(1).await;
        let set = api.put(LIMITS, json!({ "spend_limit_micros": 2 * CALL, "period": "day" })).await.json(200);
        assert_eq!(keys(&set), ["period", "spend_limit_micros", "updated_at"]);
        assert_eq!((&set["spend_limit_micros"], &set["period"]), (&json!(120), &json!("day")));
        api.send(&chat, "Again.").await;
        stream.answered(2).await;
        let status = api.get(&format!("{LIMITS}/status")).await.json(200);
        assert_eq!(keys(&status), ["current_spend", "is_limited", "period", "period_end", "period_start", "spend_limit_micros"]);
        assert_eq!((&status["is_limited"], &status["current_spend"]), (&json!(true), &json!(120)));
        let message = api.history(&chat).await[0]["id"].as_i64().expect("an id");
        let create = json!({ "organization_id": api.organization().await, "content": text("x")["content"] });
        for answer in [
            api.post("/chats", create).await,
            api.post(&format!("/chats/{chat}/messages"), text("x")).await,
            api.patch(&format!("/chats/{chat}/messages/{message}"), text("x")).await,
        ] {
            let body = answer.problem(409);
            assert_eq!(keys(&body), ["detail", "limit_micros", "message", "resets_at", "spent_micros"]);
            assert_eq!((&body["message"], &body["spent_micros"], &body["limit_micros"]), (&json!("Chat usage limit exceeded."), &json!(120), &json!(120)));
            assert_eq!(body["resets_at"], status["period_end"]);
        }
        // Other conflicts have none of the keys.
        let other = api.post(&format!("/chats/{chat}/interrupt"), json!({})).await.problem(409);
        assert!(other.get("spent_micros").is_none(), "{other}");
        let summary = api.get("/chats/cost/me/summary").await.json(200);
        assert_eq!((&summary["total_cost_micros"], &summary["priced_message_count"], &summary["unpriced_message_count"]), (&json!(120), &json!(2), &json!(0)));
        assert_eq!((&summary["total_input_tokens"], &summary["total_output_tokens"]), (&json!(20), &json!(10)));
        let model = &summary["by_model"][0];
        assert_eq!(keys(model), ["display_name", "message_count", "model", "model_config_id", "provider", "total_cache_creation_tokens", "total_cache_read_tokens", "total_cost_micros", "total_input_tokens", "total_output_tokens", "total_runtime_ms"]);
        assert_eq!((&model["provider"], &model["model"], &model["message_count"]), (&json!("openai-compat"), &json!("fake-model"), &json!(2)));
        let by_chat = &summary["by_chat"][0];
        assert_eq!((&by_chat["root_chat_id"], &by_chat["chat_title"], &by_chat["total_cost_micros"]), (&json!(chat), &json!("Hello."), &json!(120)));
        assert_eq!(summary["usage_limit"], status);
        let cost = api.get(&format!("/chats/{chat}/cost")).await.json(200);
        assert_eq!(cost, json!({ "chat_id": chat, "total_cost_micros": 120, "request_count": 2, "unpriced_request_count": 0 }));
        // Off again, for everybody.
        let set = api.put(LIMITS, json!({ "spend_limit_micros": null })).await.json(200);
        assert_eq!((&set["spend_limit_micros"], &set["period"]), (&json!(null), &json!("month")));
        api.send(&chat, "On.").await;
        stream.answered(3).await;
        let summary = api.get("/chats/cost/me/summary").await.json(200);
        assert!(summary.get("usage_limit").is_none(), "{summary}");
    }

    async fn titles_are_in_the_ledger(h: Harness) {
        h.configure_model("input_price_per_million = \"1\"\noutput_price_per_million = \"10\"");
        h.model.answer_titles(|request| crate::support::fake_model::proposes(request, &json!({ "title": "A name" })));
        h.model.push([says("Done.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut watch = api.watch().await;
        let chat = id(&api.create_chat("Hello.").await);
        api.stream(&chat, None).await.answered(1).await;
        watch.kind("title_change", &chat).await;
        let cost = api.get(&format!("/chats/{chat}/cost")).await.json(200);
        assert_eq!((&cost["request_count"], &cost["total_cost_micros"]), (&json!(2), &json!(2 * CALL)));
    }

    async fn administrators_set_limits_and_others_do_not(h: Harness) {
        let daemon = priced(&h).await;
        let (ann_id, ann) = user(&daemon, "ann").await;
        let api = daemon.api();
        for bad in [json!({ "spend_limit_micros": 0, "period": "day" }), json!({ "spend_limit_micros": -1, "period": "day" }), json!({ "spend_limit_micros": 5 }), json!({ "spend_limit_micros": 5, "period": "year" }), json!({ "spend_limit_micros": null, "period": "year" }), json!({ "spend_limit_micros": 1.5, "period": "day" })] {
            api.put(LIMITS, bad).await.problem(400);
        }
        ann.get(LIMITS).await.problem(404);
        ann.put(LIMITS, json!({ "spend_limit_micros": null })).await.problem(403);
        let own = format!("{LIMITS}/overrides/{ann_id}");
        ann.put(&own, json!({ "spend_limit_micros": 5 })).await.problem(403);
        ann.delete(&own).await.problem(403);
        api.delete(&own).await.problem(400);
        for bad in [json!({}), json!({ "spend_limit_micros": 0 }), json!({ "spend_limit_micros": null })] {
            api.put(&own, bad).await.problem(400);
        }
        api.put(&format!("{LIMITS}/overrides/nobody"), json!({ "spend_limit_micros": 5 })).await.problem(404);
        let set = api.put(&own, json!({ "spend_limit_micros": 5 })).await.json(200);
        assert_eq!(keys(&set), ["avatar_url", "created_at", "name", "spend_limit_micros", "updated_at", "user_id", "username"]);
        let group = api.post("/api/v2/organizations/default/groups", json!({ "name": "g", "display_name": "G" })).await.json(201);
        let group = id(&group);
        let of_group = format!("{LIMITS}/group-overrides/{group}");
        ann.put(&of_group, json!({ "spend_limit_micros": 5 })).await.problem(403);
        api.put(&format!("{LIMITS}/group-overrides/g"), json!({ "spend_limit_micros": 5 })).await.problem(400);
        api.put(&format!("{LIMITS}/group-overrides/{ann_id}"), json!({ "spend_limit_micros": 5 })).await.problem(404);
        let set = api.put(&of_group, json!({ "spend_limit_micros": 7 })).await.json(200);
        assert_eq!(keys(&set), ["created_at", "group_avatar_url", "group_display_name", "group_id", "group_name", "member_count", "spend_limit_micros", "updated_at"]);
        let all = api.get(LIMITS).await.json(200);
        assert_eq!(keys(&all), ["group_overrides", "overrides", "period", "spend_limit_micros", "unpriced_model_count", "updated_at"]);
        assert_eq!((&all["spend_limit_micros"], &all["unpriced_model_count"]), (&json!(null), &json!(0)));
        assert_eq!((&all["overrides"][0]["username"], &all["group_overrides"][0]["group_name"]), (&json!("ann"), &json!("g")));
        api.put(LIMITS, json!({ "spend_limit_micros": 500, "period": "week" })).await.json(200);
        let status = ann.get(&format!("{LIMITS}/status")).await.json(200);
        assert_eq!((&status["spend_limit_micros"], &status["period"]), (&json!(5), &json!("week")));
        api.delete(&own).await.empty(204);
        api.delete(&own).await.problem(400);
        api.delete(&of_group).await.empty(204);
        api.delete(&of_group).await.problem(400);
    }

    async fn costs_are_for_the_user_and_for_administrators(h: Harness) {
        h.model.otherwise(|_| says("Done."));
        let daemon = priced(&h).await;
        let api = daemon.api();
        let (ann_id, ann) = user(&daemon, "ann").await;
        let (_, bob) = user(&daemon, "bob").await;
        let chat = id(&ann.create_chat("Hello.").await);
        ann.stream(&chat, None).await.answered(1).await;
        for path in ["/chats/cost/ann/summary", "/chats/cost/nobody/summary"] {
            bob.get(path).await.problem(403);
        }
        api.get("/chats/cost/nobody/summary").await.problem(404);
        for path in ["/chats/cost/ann/summary".to_owned(), format!("/chats/cost/{ann_id}/summary")] {
            assert_eq!(api.get(&path).await.json(200)["total_cost_micros"], CALL);
        }
        let empty = ann.get("/chats/cost/me/summary?start_date=2020-01-01T00:00:00Z&end_date=2020-02-01T00:00:00Z").await.json(200);
        assert_eq!((&empty["total_cost_micros"], &empty["by_model"], &empty["by_chat"]), (&json!(0), &json!([]), &json!([])));
        assert_eq!((&empty["start_date"], &empty["end_date"]), (&json!("2020-01-01T00:00:00Z"), &json!("2020-02-01T00:00:00Z")));
        for bad in ["start_date=x", "end_date=2020", "start_date=2026-01-02T00:00:00Z&end_date=2026-01-01T00:00:00Z"] {
            ann.get(&format!("/chats/cost/me/summary?{bad}")).await.problem(400);
            api.get(&format!("/chats/insights/pull-requests?{bad}")).await.problem(400);
        }
        ann.get("/chats/cost/users").await.problem(404);
        let users = api.get("/chats/cost/users?username=NN&limit=5&offset=0").await.json(200);
        assert_eq!(keys(&users), ["count", "end_date", "start_date", "users"]);
        assert_eq!((&users["count"], &users["users"][0]["user_id"]), (&json!(1), &json!(ann_id)));
        assert_eq!(keys(&users["users"][0]), ["avatar_url", "chat_count", "message_count", "name", "total_cache_creation_tokens", "total_cache_read_tokens", "total_cost_micros", "total_input_tokens", "total_output_tokens", "total_runtime_ms", "user_id", "username"]);
        for bad in ["page=1", "limit=-1", "offset=x"] {
            api.get(&format!("/chats/cost/users?{bad}")).await.problem(400);
        }
        // The token is no unknown key.
        let by_query = format!("/chats/cost/users?coder_session_token={}", daemon.token());
        api.with_token(None).get(&by_query).await.json(200);
        ann.get("/chats/insights/pull-requests").await.problem(403);
        let insights = api.get("/chats/insights/pull-requests").await.json(200);
        assert_eq!(keys(&insights), ["by_model", "recent_prs", "summary", "time_series"]);
        assert_eq!((&insights["recent_prs"], &insights["summary"]["merge_rate"], &insights["summary"]["total_prs_created"]), (&json!([]), &json!(0.0), &json!(0)));
        bob.get(&format!("/chats/{chat}/cost")).await.problem(404);
    }

    async fn fifty_at_once_get_in_before_the_first_call_is_paid_and_none_after(h: Harness) {
        let gate = Gate::new();
        let held = gate.clone();
        h.model.otherwise(move |_| says("Done.").gate(&held));
        let daemon = priced(&h).await;
        let api = daemon.api();
        api.put(LIMITS, json!({ "spend_limit_micros": CALL, "period": "month" })).await.json(200);
        let create = json!({ "organization_id": api.organization().await, "content": text("x")["content"] });
        let all = (0..50).map(|_| api.post("/chats", create.clone()));
        let made: Vec<_> = futures_util::future::join_all(all).await.iter().map(|a| id(&a.json(201))).collect();
        gate.open();
        for chat in &made {
            api.stream(chat, None).await.answered(1).await;
        }
        let all = (0..50).map(|_| api.post("/chats", create.clone()));
        for answer in futures_util::future::join_all(all).await {
            assert_eq!(answer.problem(409)["spent_micros"], 50 * CALL);
        }
    }
}
