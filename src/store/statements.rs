//! Counts statements, so that tests can assert what an operation costs.

use diesel::connection::InstrumentationEvent;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// An instrumentation that counts every statement but transaction control. Each BEGIN, COMMIT,
/// SAVEPOINT and so on is announced by an event of its own before it is sent as a statement.
pub(super) fn counting(counter: &Arc<AtomicU64>) -> impl FnMut(InstrumentationEvent<'_>) + Send + use<> {
    let counter = Arc::clone(counter);
    move |event| match event {
        #[cfg_attr(not(test), allow(unused_variables, reason = "tests look at it"))]
        InstrumentationEvent::StartQuery { query, .. } => {
            #[cfg(test)]
            heard::note(&counter, &query.to_string());
            counter.fetch_add(1, Ordering::Relaxed);
        }
        #[cfg(test)]
        InstrumentationEvent::CacheQuery { sql, .. } => heard::kept(&counter, sql),
        InstrumentationEvent::BeginTransaction { .. }
        | InstrumentationEvent::CommitTransaction { .. }
        | InstrumentationEvent::RollbackTransaction { .. } => {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
        _ => {}
    }
}

/// The statements themselves, for tests that look at their plans.
#[cfg(test)]
pub(super) mod heard {
    use super::{Arc, AtomicU64};
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::{Mutex, PoisonError},
    };

    /// What a test hears.
    #[derive(Debug, Default)]
    pub struct Heard {
        /// Statements that were sent, without what was bound.
        pub sent: BTreeSet<String>,
        /// Statements that stay prepared from now on.
        pub kept: BTreeSet<String>,
    }

    /// By the address of the counter, for those alone that a test listens to.
    static HEARD: Mutex<BTreeMap<usize, Heard>> = Mutex::new(BTreeMap::new());

    fn key(counter: &Arc<AtomicU64>) -> usize {
        Arc::as_ptr(counter) as usize
    }

    /// Begins to listen.
    pub fn listen(counter: &Arc<AtomicU64>) {
        HEARD.lock().unwrap_or_else(PoisonError::into_inner).insert(key(counter), Heard::default());
    }

    pub(super) fn note(counter: &Arc<AtomicU64>, statement: &str) {
        if let Some(heard) = HEARD.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&key(counter)) {
            let text = statement.rsplit_once("-- binds:").map_or(statement, |(text, _)| text);
            heard.sent.insert(text.trim().to_owned());
        }
    }

    pub(super) fn kept(counter: &Arc<AtomicU64>, statement: &str) {
        if let Some(heard) = HEARD.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&key(counter)) {
            heard.kept.insert(statement.trim().to_owned());
        }
    }

    /// What was heard since; ends listening.
    pub fn taken(counter: &Arc<AtomicU64>) -> Heard {
        let mut all = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&key(counter)).unwrap_or_default()
    }
}
