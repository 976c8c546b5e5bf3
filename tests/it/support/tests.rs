//! The harness judges itself.

use super::{
    Engine, Harness,
    fake_model::{Wire, says},
    run,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

both! {
    async fn a_test_gets_what_its_engine_needs(h: Harness) {
        let config = h.config();
        assert_eq!(config["database"]["url"].as_str(), Some(h.database_url.as_str()));
        assert_eq!(h.database_url.starts_with("postgres://"), h.engine == Engine::Postgres);
        assert!(h.folder().is_dir());
        h.configure("[worker]\nlease = \"9s\"");
        h.speak(Wire::Anthropic);
        let config = h.config();
        assert_eq!(config["worker"]["lease"].as_str(), Some("9s"));
        assert_eq!(config["worker"]["heartbeat_interval"].as_str(), Some("300ms"));
        assert_eq!(config["providers"][0]["type"].as_str(), Some("anthropic"));
    }
}

/// What the harness says about a test that leaves this behind.
fn verdict<F: Future<Output = ()>>(body: impl FnOnce(Harness) -> F) -> String {
    let failed = catch_unwind(AssertUnwindSafe(|| run(Engine::Sqlite, "selftest", body)));
    match failed {
        Ok(()) => String::new(),
        Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
    }
}

#[test]
fn a_script_that_was_not_played_fails_a_test() {
    assert!(verdict(|h| async move { h.model.push([says("unheard")]) }).contains("never asked for"));
}

#[test]
fn an_error_that_did_not_come_fails_a_test() {
    assert!(verdict(|h| async move { h.expect_error("flood") }).contains("\"flood\" was not logged"));
}

#[test]
fn an_error_that_nobody_expected_fails_a_test() {
    // Into the log of this test alone: the tests beside it are innocent.
    let said = verdict(|h| async move { h.log.line(true, "ERROR chatd: on fire") });
    assert!(said.contains("no test expected") && said.contains("on fire"), "{said}");
}

#[test]
fn a_panic_of_the_body_is_passed_on() {
    assert_eq!(verdict(|_| async { panic!("{}", "of its own") }), "of its own");
}
