//! Whether a failed model call is tried again, and what is recorded about it (agent-loop.md §11.1).

use crate::{
    chat::json::Json,
    clock::Timestamp,
    llm::failure::{Failure, FailureKind},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// How often and how soon a history is tried again. The attempts are counted in the chat's row, so
/// another worker goes on counting where this one stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Attempts at one history.
    pub max_attempts: i64,
    /// Wait after the first attempt; doubled after each further one.
    pub initial_delay: Duration,
    /// Longest wait, unless the provider asks for a longer one.
    pub max_delay: Duration,
}

impl Default for Policy {
    /// 25 attempts, 1 s doubling up to 60 s (agent-loop.md §1).
    fn default() -> Self {
        Self { max_attempts: 25, initial_delay: Duration::from_secs(1), max_delay: Duration::from_secs(60) }
    }
}

/// What follows a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Record `state` as `retry_state`, wait, try again.
    Retry {
        /// How long to wait.
        delay: Duration,
        /// The `retry_state` payload.
        state: Json,
    },
    /// Finish the turn with this `last_error` payload.
    GiveUp(Json),
}

/// api.md §3.11.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Retry)]
pub struct RetryState<'a> {
    attempt: i64,
    delay_ms: u64,
    error: &'a str,
    kind: FailureKind,
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(required = false)]
    provider: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    retrying_at: Timestamp,
}

/// api.md §3.10.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChatError)]
pub struct ChatError<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    kind: FailureKind,
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(required = false)]
    provider: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
}

impl Policy {
    /// The wait after attempt number `attempt` (from 1).
    #[must_use]
    pub fn delay(&self, attempt: i64, retry_after: Option<Duration>) -> Duration {
        let doublings = u32::try_from(attempt.saturating_sub(1).clamp(0, 31)).unwrap_or(31);
        let own = self.initial_delay.saturating_mul(1 << doublings).min(self.max_delay);
        retry_after.map_or(own, |asked| asked.max(own))
    }

    /// What to do after attempt number `attempt` (the chat's `generation_attempt`) has failed.
    #[must_use]
    pub fn after(&self, failure: &Failure, attempt: i64, now: Timestamp) -> Verdict {
        if !failure.retryable || attempt <= 0 || attempt >= self.max_attempts {
            return Verdict::GiveUp(last_error(failure));
        }
        let delay = self.delay(attempt, failure.retry_after);
        let state = Json::of(&RetryState {
            attempt,
            delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            error: &failure.message,
            kind: failure.kind,
            provider: &failure.provider,
            status_code: failure.status_code,
            retrying_at: now + delay,
        });
        Verdict::Retry { delay, state }
    }
}

/// What is left of a wait that another process may have begun, by the chat's `retry_state`: a provider that asked to be
/// left alone does not mean one process only.
#[must_use]
pub fn rest(state: Option<&Json>, now: Timestamp) -> Duration {
    #[derive(Deserialize)]
    struct Begun {
        delay_ms: u64,
        retrying_at: Timestamp,
    }
    // The clock may have been put back since: never longer than the whole.
    state
        .and_then(|state| state.read::<Begun>().ok())
        .map_or(Duration::ZERO, |b| b.retrying_at.since(now).min(Duration::from_millis(b.delay_ms)))
}

/// The `last_error` payload of a failed model call.
#[must_use]
pub fn last_error(failure: &Failure) -> Json {
    Json::of(&ChatError {
        message: &failure.message,
        detail: failure.detail.as_deref().filter(|detail| !detail.is_empty()),
        kind: failure.kind,
        provider: &failure.provider,
        retryable: failure.retryable,
        status_code: failure.status_code,
    })
}

/// The `last_error` payload of a turn that failed without a provider being at fault.
#[must_use]
pub fn turn_error(message: &str) -> Json {
    Json::of(&ChatError {
        message,
        detail: None,
        kind: FailureKind::Generic,
        provider: "",
        retryable: false,
        status_code: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::fixtures::at;
    use serde_json::{Value, json};

    fn failure() -> Failure {
        Failure {
            kind: FailureKind::RateLimit,
            retryable: true,
            message: "Anthropic is limiting requests.".into(),
            detail: Some("slow down".into()),
            provider: "anthropic".into(),
            status_code: Some(429),
            retry_after: None,
            chain_broken: false,
        }
    }

    fn value(json: &Json) -> Value {
        json.read().unwrap()
    }

    #[test]
    fn delays_double_up_to_the_cap_and_the_provider_may_ask_for_more() {
        let policy = Policy::default();
        for (attempt, seconds) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (24, 60), (i64::MAX, 60)] {
            assert_eq!(policy.delay(attempt, None), Duration::from_secs(seconds));
        }
        assert_eq!(policy.delay(1, Some(Duration::from_secs(90))), Duration::from_secs(90));
        assert_eq!(policy.delay(7, Some(Duration::from_secs(3))), Duration::from_secs(60));
    }

    #[test]
    fn attempts_are_bounded() {
        let policy = Policy::default();
        for (attempt, retries) in [(0, false), (1, true), (24, true), (25, false), (26, false), (-1, false)] {
            let verdict = policy.after(&failure(), attempt, at(0));
            assert_eq!(matches!(verdict, Verdict::Retry { .. }), retries, "attempt {attempt}");
        }
        let fatal = Failure { retryable: false, ..failure() };
        assert!(matches!(policy.after(&fatal, 1, at(0)), Verdict::GiveUp(_)));
    }

    #[test]
    fn payloads_have_exactly_the_keys_of_the_wire() {
        let Verdict::Retry { delay, state } = Policy::default().after(&failure(), 3, at(0)) else {
            panic!("must retry")
        };
        assert_eq!(delay, Duration::from_secs(4));
        assert_eq!(
            value(&state),
            json!({"attempt": 3, "delay_ms": 4000, "error": "Anthropic is limiting requests.",
                   "kind": "rate_limit", "provider": "anthropic", "status_code": 429,
                   "retrying_at": at(4).to_string()})
        );
        assert_eq!(
            value(&last_error(&failure())),
            json!({"message": "Anthropic is limiting requests.", "detail": "slow down",
                   "kind": "rate_limit", "provider": "anthropic", "retryable": true, "status_code": 429})
        );
        assert_eq!(value(&turn_error("x")), json!({"message": "x", "kind": "generic", "retryable": false}));
    }
}
