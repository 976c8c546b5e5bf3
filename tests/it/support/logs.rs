//! What the code under test logs. An ERROR that no test declared fails the tests that ran meanwhile.
//!
//! Daemons of several tests share a process, and their threads belong to nobody, so an ERROR is held
//! against every test that was running when it came. A panic on a thread that is not a test's counts too.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak},
};
use tracing::{Event, Level, Subscriber, field};
use tracing_subscriber::{Layer, layer::Context, prelude::*};

/// Lines kept for the report of a failed test.
const REMEMBERED: usize = 400;

#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    errors: Vec<String>,
    expected: Vec<(String, bool)>,
    /// Texts that no line may hold, and the lines that did.
    forbidden: Vec<String>,
    leaks: Vec<String>,
}

/// The log of one test.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Kept>>);

fn tests() -> MutexGuard<'static, Vec<Weak<Mutex<Kept>>>> {
    static TESTS: Mutex<Vec<Weak<Mutex<Kept>>>> = Mutex::new(Vec::new());
    TESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// Begins to listen.
    pub fn start() -> Self {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            let filter = tracing_subscriber::filter::LevelFilter::DEBUG;
            let subscriber = tracing_subscriber::registry().with(Capture.with_filter(filter));
            tracing::subscriber::set_global_default(subscriber)
                .expect("no test installs a subscriber of its own");
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                // libtest names its threads after the test: a path, or `main` with one thread.
                if !name.contains("::") && name != "main" {
                    record(true, &format!("panic on thread {name:?}: {info}"));
                }
                before(info);
            }));
        });
        let log = Self::default();
        let mut tests = tests();
        tests.retain(|test| test.strong_count() > 0);
        tests.push(Arc::downgrade(&log.0));
        log
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares that an ERROR with this text in it will be logged. It must come, once or more.
    pub fn expect_error(&self, text: &str) {
        self.kept().expected.push((text.to_owned(), false));
    }

    /// Declares a text that must not be logged: a secret.
    pub fn forbid(&self, text: &str) {
        let mut kept = self.kept();
        let leaked: Vec<String> = kept.lines.iter().filter(|line| line.contains(text)).cloned().collect();
        kept.leaks.extend(leaked);
        kept.forbidden.push(text.to_owned());
    }

    /// Keeps a line of a daemon process.
    pub fn line(&self, is_error: bool, line: &str) {
        let mut kept = self.kept();
        if kept.lines.len() == REMEMBERED {
            kept.lines.pop_front();
        }
        if kept.forbidden.iter().any(|secret| line.contains(secret.as_str())) {
            kept.leaks.push(line.to_owned());
        }
        kept.lines.push_back(line.to_owned());
        if is_error {
            kept.errors.push(line.to_owned());
        }
    }

    /// What is wrong at the end of a test: ERRORs that were not declared, declared ones that never came.
    pub fn verdict(&self) -> Vec<String> {
        let others: Vec<String> = {
            let running: Vec<_> =
                tests().iter().filter_map(Weak::upgrade).filter(|t| !Arc::ptr_eq(t, &self.0)).collect();
            let texts = |kept: &Arc<Mutex<Kept>>| {
                let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.expected.iter().map(|(text, _)| text.clone()).collect::<Vec<_>>()
            };
            running.iter().flat_map(texts).collect()
        };
        let mut kept = self.kept();
        let errors = std::mem::take(&mut kept.errors);
        let mut faults = Vec::new();
        for error in errors {
            let mut expected = false;
            for (text, came) in &mut kept.expected {
                if error.contains(text.as_str()) {
                    (*came, expected) = (true, true);
                }
            }
            if !expected && !others.iter().any(|text| error.contains(text.as_str())) {
                faults.push(format!("an ERROR that no test expected: {error}"));
            }
        }
        let missing = kept.expected.iter().filter(|(_, came)| !came);
        faults.extend(missing.map(|(text, _)| format!("the expected ERROR {text:?} was not logged")));
        faults.extend(
            std::mem::take(&mut kept.leaks).into_iter().map(|line| format!("a secret in the log: {line}")),
        );
        faults
    }

    /// The last lines, for the report of a failed test.
    pub fn tail(&self) -> String {
        self.kept().lines.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

fn record(is_error: bool, line: &str) {
    let running: Vec<_> = tests().iter().filter_map(Weak::upgrade).collect();
    for test in running {
        Log(test).line(is_error, line);
    }
}

/// Hands each event of our own code to the tests that run.
struct Capture;

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let is_error = *metadata.level() == Level::ERROR;
        if !is_error && !metadata.target().starts_with("chatd") {
            return;
        }
        let mut text = Text(format!("{} {}:", metadata.level(), metadata.target()));
        event.record(&mut text);
        record(is_error, &text.0);
    }
}

struct Text(String);

impl field::Visit for Text {
    fn record_debug(&mut self, field: &field::Field, value: &dyn std::fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        written.expect("writing to a String cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undeclared_error_and_a_missing_one_are_faults() {
        let log = Log::default(); // not registered: other tests must not see these
        log.line(false, "INFO all is well");
        assert!(log.verdict().is_empty());
        log.expect_error("disk full");
        log.line(true, "ERROR disk full: /tmp");
        assert!(log.verdict().is_empty());
        log.line(true, "ERROR on fire");
        log.expect_error("flood");
        let faults = log.verdict();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("on fire") && faults[1].contains("flood"), "{faults:?}");
        assert!(log.tail().contains("all is well"));
    }

    #[test]
    fn events_reach_the_log_of_a_running_test() {
        let log = Log::start();
        tracing::info!(target: "chatd::selftest", answer = 42, "a line");
        assert!(log.tail().contains("INFO chatd::selftest: a line answer=42"), "{}", log.tail());
        drop(log);
    }
}
