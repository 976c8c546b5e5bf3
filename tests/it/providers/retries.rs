use crate::support::{
    Harness, both,
    fake_model::{Gate, Reply, Wire, fails, says},
    turns::{conversation, id, live_parts},
};
use serde_json::{Value, json};

fn error(message: &str) -> Value {
    json!({ "error": { "message": message, "type": "some_error" } })
}

/// Plays a failure and then a success; returns the `retry` payload.
async fn recovers(h: &Harness, failure: Reply) -> Value {
    let gate = Gate::new();
    h.model.push([failure, says("Here ").gate(&gate).says("I am.")]);
    let daemon = h.daemon().await;
    let api = daemon.api();
    let chat = id(&api.create_chat("Are you there?").await);
    let mut stream = api.stream(&chat, None).await;
    stream.shows("Here ").await;
    gate.open();
    let held = stream.answered(1).await;
    assert_eq!(held.texts("assistant"), ["Here I am."], "nothing of the failed attempt is kept");
    assert_eq!(held.retries.len(), 1, "{:#?}", held.retries);
    let retry = held.retries[0].clone();
    let parts = live_parts(&stream.events());
    let last = parts.last().expect("parts");
    assert_eq!(last["generation_attempt"], json!(2), "{last}");
    assert_eq!(h.turns(), 2);
    assert_eq!(conversation(&h.turn(1).await), ["user: Are you there?"]);
    assert_eq!(retry["attempt"], json!(1), "{retry}");
    assert!(retry["provider"].is_string() && retry["retrying_at"].is_string(), "{retry}");
    retry
}

/// Plays a failure that must end the turn at once, and a send that gets out of it.
async fn ends_the_turn(h: &Harness, failure: Reply, kind: &str, status_code: Option<u16>) {
    h.model.push([failure, says("Better now.")]);
    let daemon = h.daemon().await;
    let api = daemon.api();
    let chat = id(&api.create_chat("Q1").await);
    let mut stream = api.stream(&chat, None).await;
    let held = stream.until("the error", |f| f.error.is_some()).await;
    assert!(held.retries.is_empty(), "{:#?}", held.retries);
    let error = held.error.clone().expect("just seen");
    assert_eq!((&error["kind"], &error["retryable"]), (&json!(kind), &json!(false)), "{error}");
    assert_eq!(error.get("status_code"), status_code.map(|code| json!(code)).as_ref(), "{error}");
    assert!(error["provider"].is_string(), "{error}");
    assert_eq!(api.chat(&chat).await["last_error"], error);
    assert_eq!(h.turns(), 1);
    api.send(&chat, "Q2").await;
    assert_eq!(stream.answered(1).await.texts("assistant"), ["Better now."]);
    assert!(api.chat(&chat).await.get("last_error").is_none());
}

both! {
    async fn a_rate_limit_is_waited_for_as_long_as_the_provider_says(h: Harness) {
        let retry = recovers(&h, fails(429, error("slow down")).header("retry-after", "2")).await;
        assert_eq!((&retry["kind"], &retry["status_code"]), (&json!("rate_limit"), &json!(429)), "{retry}");
        assert_eq!(retry["delay_ms"], json!(2000), "{retry}");
    }

    async fn a_failure_of_the_provider_is_tried_again(h: Harness) {
        let retry = recovers(&h, fails(500, error("boom"))).await;
        assert_eq!((&retry["kind"], &retry["status_code"]), (&json!("generic"), &json!(500)), "{retry}");
        assert_eq!(retry["delay_ms"], json!(1000), "{retry}");
    }

    async fn an_overloaded_provider_is_tried_again(h: Harness) {
        h.speak(Wire::Anthropic);
        let retry = recovers(&h, fails(529, error("Overloaded"))).await;
        assert_eq!((&retry["kind"], &retry["status_code"]), (&json!("overloaded"), &json!(529)), "{retry}");
    }

    async fn a_stream_that_breaks_off_is_tried_again(h: Harness) {
        let retry = recovers(&h, says("Lost words").cut()).await;
        assert_eq!(retry["kind"], json!("timeout"), "{retry}");
    }

    async fn a_stream_without_its_end_is_tried_again(h: Harness) {
        h.speak(Wire::Anthropic);
        let retry = recovers(&h, says("Lost words").without_end()).await;
        assert_eq!(retry["kind"], json!("timeout"), "{retry}");
    }

    async fn a_provider_that_says_it_is_overloaded_in_its_stream_is_tried_again(h: Harness) {
        h.speak(Wire::Anthropic);
        let retry = recovers(&h, says("Lost").error_event(Wire::Anthropic, "overloaded_error", "Overloaded")).await;
        assert_eq!(retry["kind"], json!("overloaded"), "{retry}");
    }

    async fn a_failure_in_the_stream_of_responses_is_tried_again(h: Harness) {
        h.speak(Wire::Responses);
        let retry = recovers(&h, says("Lost").error_event(Wire::Responses, "server_error", "The server had an error")).await;
        assert_eq!(retry["kind"], json!("generic"), "{retry}");
    }

    async fn the_last_attempt_ends_the_turn_with_its_error_and_a_message_goes_on(h: Harness) {
        h.configure("worker.max_attempts = 2");
        h.model.push([fails(503, error("down")), fails(503, error("still down")), says("Up again.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        let held = stream.until("the error", |f| f.error.is_some()).await;
        assert_eq!(held.retries.len(), 1);
        assert!(held.is("error"));
        let error = held.error.clone().expect("just seen");
        for key in ["message", "kind", "provider"] {
            assert!(error[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {error}");
        }
        assert_eq!((&error["status_code"], &error["retryable"]), (&json!(503), &json!(true)), "{error}");
        assert_eq!(api.chat(&chat).await["last_error"], error);
        let late = &mut api.stream(&chat, None).await;
        late.until("the error", |f| f.error.is_some()).await;
        assert_eq!(late.fold.error, Some(error));
        api.send(&chat, "Q2").await;
        assert_eq!(stream.answered(1).await.texts("assistant"), ["Up again."]);
        assert!(api.chat(&chat).await.get("last_error").is_none());
    }

    async fn a_refused_key_is_not_tried_again(h: Harness) {
        ends_the_turn(&h, fails(401, error("Incorrect API key provided")), "auth", Some(401)).await;
    }

    async fn a_refused_model_is_not_tried_again(h: Harness) {
        ends_the_turn(&h, fails(400, error("model not found: fake-model")), "config", Some(400)).await;
    }

    async fn a_used_up_quota_is_not_tried_again_even_when_it_looks_like_a_rate_limit(h: Harness) {
        let body = json!({ "error": { "message": "You exceeded your current quota", "type": "insufficient_quota" } });
        ends_the_turn(&h, fails(429, body), "usage_limit", Some(429)).await;
    }

    async fn bytes_that_are_no_text_do_not_harm_the_daemon(h: Harness) {
        no_harm(h, says("Odd ").invalid_utf8()).await;
    }

    async fn events_that_are_no_json_do_not_harm_the_daemon(h: Harness) {
        no_harm(h, says("Odd ").garbage()).await;
    }

    async fn an_interrupt_ends_the_wait_for_the_next_attempt(h: Harness) {
        h.model.push([fails(429, error("slow down")).header("retry-after", "600"), says("Fine.")]);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let chat = id(&api.create_chat("Q1").await);
        let mut stream = api.stream(&chat, None).await;
        stream.until("the retry", |f| !f.retries.is_empty()).await;
        let late = &mut api.stream(&chat, None).await;
        late.until("the retry", |f| !f.retries.is_empty()).await;
        api.interrupt(&chat).await;
        stream.status("waiting").await;
        api.send(&chat, "Q2").await;
        assert_eq!(stream.answered(1).await.texts("assistant"), ["Fine."]);
    }
}

/// Whatever the verdict about such a stream is, the chat comes to rest and can be talked to.
async fn no_harm(h: Harness, odd: Reply) {
    h.configure("worker.max_attempts = 2");
    h.model.otherwise(move |request| match request.last_user() {
        "Q1" => odd.clone(),
        _ => says("Fine."),
    });
    let daemon = h.daemon().await;
    let api = daemon.api();
    let chat = id(&api.create_chat("Q1").await);
    let mut stream = api.stream(&chat, None).await;
    stream.until("an end", |f| f.is("waiting") || f.error.is_some()).await;
    api.send(&chat, "Q2").await;
    let held = stream
        .until("an answer", |f| f.settled() && f.texts("assistant").last().is_some_and(|t| t == "Fine."))
        .await;
    assert_eq!(held.texts("user"), ["Q1", "Q2"]);
}
