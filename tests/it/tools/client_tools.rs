use super::with_client_tool;
use crate::support::{
    both,
    client::{Api, ChatStream},
    fake_model::{Reply, says},
    turns::{conversation, id, text, words},
};
use serde_json::{Value, json};

/// A chat that waits for the answer to call `a`.
async fn pending(api: &Api) -> (String, ChatStream) {
    let chat = id(&api.create_chat_with(with_client_tool("Ask me.")).await);
    let mut stream = api.stream(&chat, None).await;
    stream.until("the call for action", |f| f.action_required.is_some()).await;
    (chat, stream)
}

fn asks() -> Reply {
    says("Let me ask. ").calls("ask_client", json!({ "what": "name" })).with_id("a")
}

async fn answer(api: &Api, chat: &str, results: Value) -> crate::support::client::Answer {
    api.post(&format!("/chats/{chat}/tool-results"), json!({ "results": results })).await
}

both! {
    async fn a_client_tool_pauses_the_turn_until_the_client_answers(h: Harness) {
        h.model.push([asks(), says("Hello Ann.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (chat, mut stream) = pending(&api).await;
        let action = stream.fold.action_required.clone().expect("just seen");
        let call = &action["tool_calls"][0];
        assert_eq!((&call["tool_call_id"], &call["tool_name"]), (&json!("a"), &json!("ask_client")));
        let args: Value = serde_json::from_str(call["args"].as_str().expect("a string")).expect("JSON");
        assert_eq!(args, json!({ "what": "name" }));
        assert_eq!(api.chat(&chat).await["status"], json!("requires_action"));
        let late = &mut api.stream(&chat, None).await;
        late.until("the call for action", |f| f.action_required.is_some()).await;
        assert_eq!(late.fold.action_required, Some(action));
        stream.forget_events();
        answer(&api, &chat, json!([{ "tool_call_id": "a", "output": { "name": "Ann" } }])).await.empty(204);
        let held = stream.answered(2).await;
        assert_eq!(held.roles(), ["user", "assistant", "tool", "assistant"]);
        let result = &held.parts_of("tool-result")[0];
        assert_eq!((&result["result"], &result["tool_name"]), (&json!({ "name": "Ann" }), &json!("ask_client")));
        assert_ne!(result["is_error"], json!(true));
        let order = words(&stream.events());
        assert_eq!(order[..2], ["message tool".to_owned(), "status running".to_owned()], "{order:?}");
        let seen: Value = serde_json::from_str(h.turn(1).await.tool_results()[0]).expect("JSON");
        assert_eq!(seen, json!({ "name": "Ann" }));
        assert!(h.turn(0).await.tool_names().contains(&"ask_client"));
    }

    async fn a_client_tool_may_be_called_like_one_that_ends_plan_turns(h: Harness) {
        h.model.push([Reply::empty().calls("ask_user_question", json!({})).with_id("a"), says("Blue it is.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let mut body = with_client_tool("Ask me.");
        body["unsafe_dynamic_tools"] = json!([
            { "name": "ask_user_question", "input_schema": { "type": "object" } },
            { "name": "without" }, { "name": "null", "description": null, "input_schema": null },
        ]);
        let chat = id(&api.create_chat_with(body).await);
        let mut stream = api.stream(&chat, None).await;
        stream.until("the call for action", |f| f.action_required.is_some()).await;
        answer(&api, &chat, json!([{ "tool_call_id": "a", "output": "blue" }])).await.empty(204);
        assert_eq!(stream.answered(2).await.texts("assistant").last().map(String::as_str), Some("Blue it is."));
        // Their schemas say less than providers insist on.
        let asked = h.turn(0).await;
        for name in ["ask_user_question", "without", "null"] {
            let tool = asked.tools.iter().find(|tool| tool.name == name).expect("the tool");
            assert_eq!(tool.schema, json!({ "type": "object", "properties": {} }), "{name}");
        }
    }

    async fn results_that_do_not_fit_the_pending_calls_change_nothing(h: Harness) {
        h.model.push([
            Reply::empty().calls("ask_client", json!({ "what": "x" })).with_id("a")
                .calls("ask_client", json!({ "what": "y" })).with_id("b"),
            says("Thanks."),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (chat, mut stream) = pending(&api).await;
        let one = |id: &str| json!({ "tool_call_id": id, "output": 1 });
        answer(&api, &chat, json!([])).await.problem(400);
        answer(&api, &chat, json!([one("a"), one("a")])).await.problem(400);
        answer(&api, &chat, json!([one("a")])).await.problem(400);
        answer(&api, &chat, json!([one("a"), one("b"), one("c")])).await.problem(400);
        answer(&api, &chat, json!([one("a"), { "tool_call_id": "b" }])).await.problem(400);
        assert_eq!(api.history(&chat).await.len(), 2);
        assert_eq!(api.chat(&chat).await["status"], json!("requires_action"));
        let failed = json!({ "tool_call_id": "a", "output": "no such thing", "is_error": true });
        answer(&api, &chat, json!([one("b"), failed])).await.empty(204);
        let held = stream.answered(2).await;
        let results = held.parts_of("tool-result");
        let (a, b) = match results[0]["tool_call_id"] == "a" {
            true => (&results[0], &results[1]),
            false => (&results[1], &results[0]),
        };
        assert_eq!((&a["is_error"], &b["result"]), (&json!(true), &json!(1)), "{results:#?}");
        answer(&api, &chat, json!([one("a"), one("b")])).await.problem(409);
        assert_eq!(h.turns(), 2);
    }

    async fn of_a_mixed_step_our_own_tools_run_first(h: Harness) {
        h.model.push([
            Reply::empty()
                .calls("ask_client", json!({ "what": "x" })).with_id("theirs")
                .calls("execute", json!({ "command": "echo ours", "timeout": "5s" })).with_id("ours"),
            says("Both."),
        ]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (chat, mut stream) = pending(&api).await;
        assert_eq!(stream.fold.roles(), ["user", "assistant", "tool"]);
        let calls = &stream.fold.action_required.as_ref().expect("pending")["tool_calls"];
        assert_eq!((calls.as_array().map(Vec::len), &calls[0]["tool_call_id"]), (Some(1), &json!("theirs")));
        answer(&api, &chat, json!([{ "tool_call_id": "ours", "output": 1 }])).await.problem(400);
        answer(&api, &chat, json!([{ "tool_call_id": "theirs", "output": "x" }])).await.empty(204);
        let held = stream.answered(2).await;
        assert_eq!(held.roles(), ["user", "assistant", "tool", "tool", "assistant"]);
        assert_eq!(h.turn(1).await.tool_results().len(), 2);
    }

    async fn a_client_that_never_answers_is_answered_for(h: Harness) {
        h.configure("worker.tool_result_timeout = \"1s\"");
        h.model.push([asks(), says("Too late.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (chat, mut stream) = pending(&api).await;
        let held = stream.answered(2).await;
        let result = &held.parts_of("tool-result")[0];
        assert_eq!((&result["tool_call_id"], &result["is_error"]), (&json!("a"), &json!(true)));
        assert!(result["result"].is_string(), "{result}");
        answer(&api, &chat, json!([{ "tool_call_id": "a", "output": 1 }])).await.problem(409);
    }

    async fn an_interrupt_answers_pending_calls_and_lets_the_model_see_it(h: Harness) {
        h.model.push([asks(), says("You do not want to tell.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (chat, mut stream) = pending(&api).await;
        assert_eq!(api.interrupt(&chat).await["status"], json!("running"));
        let held = stream.answered(2).await;
        assert_eq!(held.roles(), ["user", "assistant", "tool", "assistant"]);
        assert_eq!(held.parts_of("tool-result")[0]["is_error"], json!(true));
        api.post(&format!("/chats/{chat}/interrupt"), json!({})).await.problem(409);
    }

    async fn a_message_that_interrupts_a_pending_call_is_answered_after_it(h: Harness) {
        h.model.push([asks(), says("Never mind."), says("Noon.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (chat, mut stream) = pending(&api).await;
        let mut body = text("What time is it?");
        body["busy_behavior"] = json!("interrupt");
        let sent = api.post(&format!("/chats/{chat}/messages"), body).await.json(200);
        assert_eq!(sent["queued"], json!(true));
        let held = stream.answered(3).await;
        assert_eq!(held.roles(), ["user", "assistant", "tool", "assistant", "user", "assistant"]);
        assert_eq!(conversation(&h.turn(2).await).last().map(String::as_str), Some("user: What time is it?"));
    }

    async fn a_message_queued_behind_a_pending_call_waits_for_it(h: Harness) {
        h.model.push([asks(), says("Hello."), says("Noon.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (chat, mut stream) = pending(&api).await;
        api.send(&chat, "What time is it?").await;
        stream.until("the queue", |f| f.queue.len() == 1).await;
        assert_eq!(api.chat(&chat).await["status"], json!("requires_action"));
        answer(&api, &chat, json!([{ "tool_call_id": "a", "output": null }])).await.empty(204);
        let held = stream.answered(3).await;
        assert_eq!(held.texts("assistant"), ["Let me ask. ", "Hello.", "Noon."]);
    }

    async fn promoting_over_a_pending_call_answers_it_first(h: Harness) {
        h.model.push([asks(), says("Noon.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (chat, mut stream) = pending(&api).await;
        let queued = api.send(&chat, "What time is it?").await["queued_message"]["id"].clone();
        api.post(&format!("/chats/{chat}/queue/{queued}/promote"), json!({})).await.json(202);
        let held = stream.answered(2).await;
        assert_eq!(held.roles(), ["user", "assistant", "tool", "user", "assistant"]);
        assert_eq!(held.parts_of("tool-result")[0]["is_error"], json!(true));
        assert_eq!(h.turns(), 2);
    }

    async fn an_edit_while_a_call_is_pending_begins_anew(h: Harness) {
        h.model.push([asks(), says("Fresh.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let (chat, mut stream) = pending(&api).await;
        let first = *stream.fold.messages.keys().next().expect("messages");
        api.patch(&format!("/chats/{chat}/messages/{first}"), text("Do not ask.")).await.json(200);
        let held = stream.until("the fresh answer", |f| f.settled() && f.history_resets == 1).await;
        assert_eq!(held.roles(), ["user", "assistant"]);
        assert_eq!(conversation(&h.turn(1).await), ["user: Do not ask."]);
    }
}
