//! One table, rule by rule.

use super::*;
use FailureKind as K;

fn status(status: u16, body: &str) -> RawFailure {
    RawFailure::Status { status, retry_after: None, body: body.into() }
}

fn said(code: &str, message: &str) -> RawFailure {
    RawFailure::Wire(WireError::Provider { status: None, code: Some(code.into()), message: message.into() })
}

fn error(message: &str) -> String {
    serde_json::json!({ "error": { "message": message } }).to_string()
}

#[test]
fn every_rule_in_its_place() {
    let table: Vec<(u8, RawFailure, K, bool)> = vec![
        (2, RawFailure::Interrupted, K::Generic, false),
        (2, status(500, &error("request interrupted by user")), K::Generic, false),
        (3, status(400, &error("No tool output found for function call c1.")), K::Generic, false),
        (
            3,
            status(
                400,
                &error(
                    "Item 'ws_1' of type 'web_search_call' was provided without its required 'reasoning' item: 'rs_1'.",
                ),
            ),
            K::Generic,
            false,
        ),
        (4, RawFailure::Incomplete, K::Timeout, true),
        (4, RawFailure::Silence(Duration::from_secs(600)), K::StreamSilenceTimeout, true),
        (4, RawFailure::Deadline, K::Timeout, false),
        (5, status(400, &error("Previous response with id 'resp_1' not found.")), K::Generic, true),
        (5, status(404, &error("Item with id 'rs_1' not found.")), K::Generic, true),
        (
            5,
            status(
                400,
                r#"{"error":{"message":"The encrypted content could not be verified.","code":"invalid_encrypted_content"}}"#,
            ),
            K::Generic,
            true,
        ),
        (
            5,
            status(400, &error("messages.1.content.0: Invalid `signature` in `thinking` block")),
            K::Generic,
            true,
        ),
        (5, status(400, &error("Thought signature is not valid")), K::Generic, true),
        (6, status(529, ""), K::Overloaded, true),
        (6, said("overloaded_error", "Overloaded"), K::Overloaded, true),
        (6, status(503, &error("The engine is currently overloaded")), K::Overloaded, true),
        (
            7,
            status(
                429,
                r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#,
            ),
            K::UsageLimit,
            false,
        ),
        (7, status(402, ""), K::UsageLimit, false),
        (7, status(400, &error("Your credit balance is too low to access the API")), K::UsageLimit, false),
        (8, status(401, ""), K::Auth, false),
        (8, said("authentication_error", "invalid x-api-key"), K::Auth, false),
        (8, status(400, &error("API key not valid. Please pass a valid API key.")), K::Auth, false),
        (9, status(403, ""), K::Auth, false),
        (9, status(403, &error("Project has no access: model_not_found")), K::Config, false),
        (10, status(429, ""), K::RateLimit, true),
        (10, said("rate_limit_error", "slow down"), K::RateLimit, true),
        (10, status(429, &error("this model is not supported on your tier")), K::Config, false),
        (
            10,
            status(
                429,
                &error(
                    "Requests have exceeded the token rate limit of your tier. Please retry after 9 seconds. Please go \
                     here: https://aka.ms/oai/quotaincrease if you would like to increase the default rate limit.",
                ),
            ),
            K::RateLimit,
            true,
        ),
        (
            10,
            said(
                "rate_limit_exceeded",
                "Try again in 2s. Upgrade at https://console.groq.com/settings/billing",
            ),
            K::RateLimit,
            true,
        ),
        (7, status(429, "see (https://h/x) and mind your quota"), K::UsageLimit, false),
        (
            11,
            status(400, r#"{"error":{"message":"no","code":"provider_disabled"}}"#),
            K::ProviderDisabled,
            false,
        ),
        (12, status(408, ""), K::Timeout, true),
        (12, status(502, "<html>Bad Gateway</html>"), K::Timeout, true),
        (12, status(503, ""), K::Timeout, true),
        (12, status(504, ""), K::Timeout, true),
        (12, status(503, &error("maximum context length is 8192 tokens")), K::Config, false),
        (12, RawFailure::Network("the connection failed: connection reset by peer".into()), K::Timeout, true),
        (12, RawFailure::Network("http2 error: stream error received: CANCEL".into()), K::Timeout, true),
        (12, said("", "upstream returned unexpected EOF"), K::Timeout, true),
        (13, status(400, &error("This model's maximum context length is 8192 tokens")), K::Config, false),
        (13, said("context_length_exceeded", "too long"), K::Config, false),
        (13, status(400, &error("prompt is too long: 210000 tokens > 200000 maximum")), K::Config, false),
        (13, status(404, &error("The model `x` does not exist")), K::Config, false),
        (13, said("invalid_request_error", "bad"), K::Config, false),
        (13, status(302, ""), K::Config, false),
        (13, RawFailure::Unusable("not an event stream".into()), K::Config, false),
        (13, RawFailure::Network("invalid peer certificate: UnknownIssuer".into()), K::Config, false),
        (14, status(500, ""), K::Generic, true),
        (14, said("api_error", "Internal server error"), K::Generic, true),
        (14, status(520, ""), K::Generic, true),
        (15, RawFailure::Cancelled, K::Generic, false),
        (16, status(418, &error("I am a teapot")), K::Generic, false),
        (16, status(418, &error("geofence")), K::Generic, false),
        (16, RawFailure::Wire(WireError::Malformed("expected value: overloaded".into())), K::Generic, false),
    ];
    for (rule, raw, kind, retryable) in table {
        let failure = classify("openai", raw.clone());
        assert_eq!((failure.kind, failure.retryable), (kind, retryable), "rule {rule}: {raw:?}");
        assert_eq!(failure.chain_broken, rule == 5);
        assert!(!failure.message.is_empty());
    }
}

#[test]
fn what_is_classified_stays() {
    let failure = content_filtered("anthropic");
    assert_eq!(failure.kind, K::ContentFilter);
    assert_eq!(classify("openai", RawFailure::Classified(failure.clone())), failure);
}

#[test]
fn messages_name_the_provider_and_details_are_cut() {
    let long = format!("x{}", "é".repeat(900));
    let raw =
        RawFailure::Status { status: 529, retry_after: Some(Duration::from_secs(3)), body: error(&long) };
    let failure = classify("openai-compatible", raw.clone());
    assert_eq!(failure.message, "OpenAI Compatible is overloaded at the moment.");
    assert_eq!(failure.detail.as_ref().unwrap().chars().count(), MAX_DETAIL);
    assert_eq!((failure.provider.as_str(), failure.status_code), ("openai-compat", Some(529)));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
    assert!(classify_named("openai-compat", Some("Our vLLM"), raw).message.starts_with("Our vLLM"));
    assert!(classify("else", status(500, "vertex says no")).message.starts_with("Google"));
    assert!(classify("else", status(500, "")).message.starts_with("The model provider"));
}

#[test]
fn details_come_from_the_known_places() {
    for body in [
        r#"{"error":{"message":"m"}}"#,
        r#"{"message":"m"}"#,
        r#"{"error":"m"}"#,
        r#"[{"error":{"message":"m"}}]"#,
    ] {
        assert_eq!(classify("openai", status(400, body)).detail.as_deref(), Some("m"), "{body}");
    }
    assert_eq!(classify("openai", status(502, "<html>")).detail, None);
}
